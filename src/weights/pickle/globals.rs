//! The names that a pickle may use, whole, and what stands for each; anything else would be code.

use crate::weights::source::TensorType;

/// An allowed name. Nothing of Python is behind it: `calls` knows what each one makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    Size,
    Parameter,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`, whose type is that of their storage.
    RebuildTensor,
    /// `_rebuild_tensor_v3`, whose type is an argument.
    RebuildTypedTensor,
    Storage(Element),
    Dtype(Element),
}

/// The type of a tensor's elements under PyTorch's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    pub name: &'static str,
    pub bytes: u64,
}

/// PyTorch's types: the name of the dtype, of its storage class (the newer types have none), bytes of an element.
const ELEMENTS: [(&str, Option<&str>, u64); 18] = [
    ("float32", Some("FloatStorage"), 4),
    ("float16", Some("HalfStorage"), 2),
    ("bfloat16", Some("BFloat16Storage"), 2),
    ("float64", Some("DoubleStorage"), 8),
    ("int64", Some("LongStorage"), 8),
    ("int32", Some("IntStorage"), 4),
    ("int16", Some("ShortStorage"), 2),
    ("int8", Some("CharStorage"), 1),
    ("uint8", Some("ByteStorage"), 1),
    ("bool", Some("BoolStorage"), 1),
    ("complex64", Some("ComplexFloatStorage"), 8),
    ("complex128", Some("ComplexDoubleStorage"), 16),
    ("uint16", None, 2),
    ("uint32", None, 4),
    ("uint64", None, 8),
    ("float8_e4m3fn", None, 1),
    ("float8_e5m2", None, 1),
    ("float8_e8m0fnu", None, 1),
];

/// The storage class of bytes; its count is one of bytes.
const UNTYPED: Element = Element { name: "uint8", bytes: 1 };

impl Global {
    /// The meaning of `module.name`, `None` if it is not allowed.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTypedTensor,
            ("torch._utils", "_rebuild_parameter") | ("torch.nn.parameter", "Parameter") => Self::Parameter,
            ("torch.storage", "UntypedStorage") => Self::Storage(UNTYPED),
            ("torch", name) => return Self::find_type(name),
            _ => return None,
        })
    }

    fn find_type(torch_name: &str) -> Option<Self> {
        ELEMENTS.iter().find_map(|(dtype, storage, bytes)| {
            let element = Element { name: dtype, bytes: *bytes };
            if *dtype == torch_name {
                return Some(Self::Dtype(element));
            }
            (*storage == Some(torch_name)).then_some(Self::Storage(element))
        })
    }
}

impl Element {
    /// The type that models compute in, if it is one.
    pub fn tensor_type(self) -> Option<TensorType> {
        match self.name {
            "float64" => Some(TensorType::F64),
            "float32" => Some(TensorType::F32),
            "float16" => Some(TensorType::F16),
            "bfloat16" => Some(TensorType::Bf16),
            _ => None,
        }
    }
}
