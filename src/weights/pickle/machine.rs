//! The pickle machine: a stack, marks, a memo, and nothing that runs.
//!
//! It follows Python's `pickletools` (protocols 2 to 5) for the operations in `opcodes`. A name that is not in `globals`
//! ends the reading at once. Work and memory are linear in the pickle's bytes: an operation reads at least one, stores
//! at most some dozens, and texts stay where they are.

use std::collections::HashMap;
use std::path::Path;

use super::calls;
use super::globals::Global;
use super::opcodes as op;
use super::value::{Heap, Value};
use crate::weights::WeightsError;

/// A tensor takes about 80 bytes beside its name.
const PICKLE_BYTES_MAX: usize = 64 << 20;
/// About 30 operations and 6 objects write one tensor; this is far above any file's number of tensors.
const OPERATIONS_MAX: usize = 1 << 21;
const OBJECTS_MAX: usize = 1 << 19;
/// Module and name of a global.
const GLOBAL_BYTES_MAX: usize = 256;

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<'p> {
    pub heap: Heap<'p>,
    pub root: Value<'p>,
    /// Bytes up to and with its end.
    pub length: usize,
}

/// Why a pickle is not read further.
#[derive(Debug)]
enum Fault {
    /// A sentence about the pickle without its subject.
    Problem(String),
    /// A name that is not allowed.
    Code(String),
}

struct Machine<'p> {
    bytes: &'p [u8],
    position: usize,
    stack: Vec<Value<'p>>,
    /// Heights of the stack, each at most the next and at most the stack's.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'p>>,
    heap: Heap<'p>,
}

/// Reads the pickle at the start of `bytes`, which messages call `place`.
pub fn unpickle<'p>(path: &Path, place: &str, bytes: &'p [u8]) -> Result<Pickle<'p>, WeightsError> {
    let bytes = &bytes[..bytes.len().min(PICKLE_BYTES_MAX)];
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut machine = Machine { bytes, position: 0, stack, marks, memo, heap: Heap::default() };
    let path = path.to_owned();
    match machine.run() {
        Ok(root) => Ok(Pickle { heap: machine.heap, root, length: machine.position }),
        Err(Fault::Code(global)) => Err(WeightsError::PickledCode { path, place: place.to_owned(), global }),
        Err(Fault::Problem(problem)) => {
            let problem = format!("{place} {problem} (before byte {} of it)", machine.position);
            Err(WeightsError::Corrupt { path, problem })
        }
    }
}

impl<'p> Machine<'p> {
    fn run(&mut self) -> Result<Value<'p>, Fault> {
        for _ in 0..OPERATIONS_MAX {
            let operation = self.number(1)? as u8;
            if operation == op::STOP {
                return self.pop();
            }
            self.step(operation)?;
            if self.heap.objects() > OBJECTS_MAX {
                return Err(problem(format!("holds more than {OBJECTS_MAX} objects")));
            }
        }
        Err(problem(format!("has more than {OPERATIONS_MAX} operations")))
    }

    fn step(&mut self, operation: u8) -> Result<(), Fault> {
        match operation {
            op::PROTO => {
                let protocol = self.number(1)?;
                if !(2..=5).contains(&protocol) {
                    return Err(problem(format!("is of protocol {protocol}; 2 to 5 are read")));
                }
            }
            op::FRAME => drop(self.take(8)?),
            op::MARK => self.marks.push(self.stack.len()),
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE | op::BINGET | op::LONG_BINGET => {
                self.memorise(operation)?;
            }
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS | op::BUILD => {
                self.extend(operation)?;
            }
            _ => {
                let value = match operation {
                    op::GLOBAL | op::STACK_GLOBAL => self.global(operation)?,
                    op::REDUCE => self.reduce()?,
                    op::BINPERSID => {
                        let id = self.pop()?;
                        calls::storage(&mut self.heap, id).map_err(Fault::Problem)?
                    }
                    _ => self.value(operation)?,
                };
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// A value that is written out, or an empty or finished container.
    fn value(&mut self, operation: u8) -> Result<Value<'p>, Fault> {
        Ok(match operation {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::BININT => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            op::BININT1 => Value::Int(self.number(1)? as i64),
            op::BININT2 => Value::Int(self.number(2)? as i64),
            op::LONG1 => long(self.counted(1)?),
            op::LONG4 => long(self.counted(4)?),
            op::BINUNICODE | op::BINSTRING => Value::Text(self.counted(4)?),
            op::SHORT_BINUNICODE | op::SHORT_BINSTRING => Value::Text(self.counted(1)?),
            op::BINUNICODE8 => Value::Text(self.counted(8)?),
            op::BINFLOAT => self.take(8).map(|_| Value::Other)?,
            op::BINBYTES => self.counted(4).map(|_| Value::Other)?,
            op::SHORT_BINBYTES => self.counted(1).map(|_| Value::Other)?,
            op::BINBYTES8 | op::BYTEARRAY8 => self.counted(8).map(|_| Value::Other)?,
            op::EMPTY_SET => Value::Other,
            op::FROZENSET => self.since_mark().map(|_| Value::Other)?,
            op::EMPTY_LIST => self.heap.empty_list(),
            op::EMPTY_DICT => self.heap.empty_dict(),
            op::EMPTY_TUPLE => self.heap.tuple(Vec::new()),
            op::TUPLE => {
                let items = self.since_mark()?;
                self.heap.tuple(items)
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let mut items = Vec::with_capacity(usize::from(operation - op::TUPLE1) + 1);
                for _ in op::TUPLE1..=operation {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.heap.tuple(items)
            }
            _ => {
                return Err(problem(format!(
                    "has the operation {operation:#04x}, which no state dict needs"
                )));
            }
        })
    }

    fn memorise(&mut self, operation: u8) -> Result<(), Fault> {
        let key = match operation {
            op::BINPUT | op::BINGET => self.number(1)?,
            op::LONG_BINPUT | op::LONG_BINGET => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(operation, op::BINGET | op::LONG_BINGET) {
            let value = self.memo.get(&key);
            self.stack.push(*value.ok_or_else(|| problem(format!("uses memo {key}, which it never set")))?);
        } else {
            let value = self.top()?;
            self.memo.insert(key, value);
        }
        Ok(())
    }

    /// Adds to the container below the new items. The state of an object (`BUILD`) is left out: a state dict has the
    /// versions of its modules there.
    fn extend(&mut self, operation: u8) -> Result<(), Fault> {
        let items = match operation {
            op::APPEND | op::BUILD => vec![self.pop()?],
            op::SETITEM => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.since_mark()?,
        };
        match (operation, self.top()?) {
            (op::APPEND | op::APPENDS, Value::List(list)) => self.heap.sequences[list].extend(items),
            (op::ADDITEMS, Value::Other) | (op::BUILD, Value::Dict(_)) => {}
            (op::SETITEM | op::SETITEMS, Value::Dict(dict)) if items.len().is_multiple_of(2) => {
                self.heap.dicts[dict]
                    .extend(items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err(problem("adds to something that cannot take it".into())),
        }
        Ok(())
    }

    fn global(&mut self, operation: u8) -> Result<Value<'p>, Fault> {
        let (module, name) = if operation == op::GLOBAL {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop()?;
            match (self.pop()?, name) {
                (Value::Text(module), Value::Text(name)) => (module, name),
                _ => return Err(problem("has a global whose name is not a text".into())),
            }
        };
        if module.len() + name.len() > GLOBAL_BYTES_MAX {
            return Err(problem(format!("has a global whose name is longer than {GLOBAL_BYTES_MAX} bytes")));
        }
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        match Global::find(&module, &name) {
            Some(global) => Ok(Value::Global(global)),
            None => Err(Fault::Code(format!("{module}.{name}"))),
        }
    }

    fn reduce(&mut self) -> Result<Value<'p>, Fault> {
        let arguments = self.pop()?;
        match (self.pop()?, arguments) {
            (Value::Global(global), Value::Tuple(arguments)) => {
                calls::call(&mut self.heap, global, arguments).map_err(Fault::Problem)
            }
            _ => Err(problem("calls something that is not a function".into())),
        }
    }

    fn top(&self) -> Result<Value<'p>, Fault> {
        let floor = self.marks.last().copied().unwrap_or_default();
        let top = self.stack[floor..].last();
        top.copied().ok_or_else(|| problem("takes a value where there is none".into()))
    }

    fn pop(&mut self) -> Result<Value<'p>, Fault> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    /// Takes what has been pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Value<'p>>, Fault> {
        let mark = self.marks.pop().ok_or_else(|| problem("ends a list that it never began".into()))?;
        // Not `split_off`, which would leave the stack's whole capacity with what may be one of many small tuples.
        Ok(self.stack.drain(mark..).collect())
    }

    fn take(&mut self, length: u64) -> Result<&'p [u8], Fault> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| {
            problem(format!(
                "does not end within its {} bytes (at most {PICKLE_BYTES_MAX})",
                self.bytes.len()
            ))
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, width: u64) -> Result<u64, Fault> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Bytes after their count, which has `width` bytes.
    fn counted(&mut self, width: u64) -> Result<&'p [u8], Fault> {
        let length = self.number(width)?;
        self.take(length)
    }

    /// Bytes up to a line feed.
    fn line(&mut self) -> Result<&'p [u8], Fault> {
        let end = self.bytes[self.position..].iter().take(GLOBAL_BYTES_MAX).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| problem("has a global whose name does not end".into()))?;
        self.take(end as u64 + 1).map(|line| &line[..end])
    }
}

fn problem(text: String) -> Fault {
    Fault::Problem(text)
}

/// A little-endian integer in two's complement of any length.
fn long(bytes: &[u8]) -> Value<'_> {
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let mut whole = [sign; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}
