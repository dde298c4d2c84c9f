//! The thread pool of the operations: `run` splits one operation into parts and returns when all are done.
//!
//! Not a task scheduler: one operation at a time, callers take turns, and the caller's own thread takes part.
//! Between operations the threads spin for some tens of microseconds, because the next operation of a forward
//! pass comes at once, and then park, because an idle server must not burn a core. The pool also carries the
//! instruction set that the kernels run on, so a test can run every kernel on each.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::simd::Isa;

/// Pauses before a thread that finds no work parks. A pause is 10 to 50 ns, so this is 20 to 100 microseconds.
const SPINS_BEFORE_PARK: u32 = 2_000;
/// Pauses before a caller that waits for the last part starts to give its core away.
const SPINS_BEFORE_YIELD: u32 = 10_000;

type Task<'a> = &'a (dyn Fn(usize) + Sync);
type Panic = Box<dyn Any + Send>;

/// A persistent pool of threads. Dropping the last `Arc` ends the threads.
pub struct Workers {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
    isa: Isa,
}

struct Shared {
    /// The task of the current operation. Written by the caller while `unclaimed` and `unfinished` are 0.
    task: UnsafeCell<Option<Task<'static>>>,
    /// Parts that nobody has taken. Claiming is a decrement from n to n - 1, and n - 1 is the part's index.
    unclaimed: AtomicUsize,
    /// Parts that have not ended. `task` stays valid until this is 0.
    unfinished: AtomicUsize,
    panic: Mutex<Option<Panic>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    shutdown: AtomicBool,
}

// SAFETY: `task` is written only by the one caller that holds the turn, before its release store of `unclaimed`,
// and read only after an acquiring claim of a part of that same operation; the caller does not return before
// every claimed part has ended.
unsafe impl Sync for Shared {}
// SAFETY: as above; the reference inside points to a `Sync` closure.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({} threads, {})", self.threads(), self.isa)
    }
}

impl Workers {
    /// A pool of `threads` threads, the caller's included (at least one), on the best instruction set present.
    pub fn new(threads: usize) -> Arc<Self> {
        Self::with_isa(threads, Isa::detect())
    }

    /// A pool whose kernels run on the given instruction set.
    pub fn with_isa(threads: usize, isa: Isa) -> Arc<Self> {
        let shared = Arc::new(Shared {
            task: UnsafeCell::new(None),
            unclaimed: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            shutdown: AtomicBool::new(false),
        });
        // A thread that cannot be started is one thread less, not a failure: the caller can do every part.
        let handles = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("xenoglot-worker-{index}"));
                builder.spawn(move || shared.serve()).ok()
            })
            .collect();
        Arc::new(Self { shared, turn: Mutex::new(()), handles, isa })
    }

    /// Threads that take part in an operation, the caller's included.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// The instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Calls `task(0)` to `task(parts - 1)`, each once, on all threads and in no set order, and returns when all
    /// have ended. A panic in a task reaches the caller after the others have ended. A task must not call `run`.
    pub fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.handles.is_empty() {
            (0..parts).for_each(task);
            return;
        }
        let turn = lock(&self.turn);
        let shared = &self.shared;
        // SAFETY: only the lifetime changes. This function does not return, nor unwind, before `unfinished` is 0,
        // after which no thread touches the task again.
        let task: Task<'static> = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: the turn is held and the operation before has ended, so nobody reads the cell now.
        unsafe { *shared.task.get() = Some(task) };
        shared.unfinished.store(parts, Ordering::Relaxed);
        shared.unclaimed.store(parts, Ordering::SeqCst);
        shared.wake_sleepers();
        while shared.work_once() {}
        shared.wait_until_finished();
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.sleep));
        self.shared.wake.notify_all();
        for handle in self.handles.drain(..) {
            // A worker catches the panics of its tasks, so there is nothing to report here.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// A worker thread's life.
    fn serve(&self) {
        let mut idle = 0;
        while !self.shutdown.load(Ordering::Relaxed) {
            if self.work_once() {
                idle = 0;
            } else if idle < SPINS_BEFORE_PARK {
                idle += 1;
                std::hint::spin_loop();
            } else {
                self.park();
                idle = 0;
            }
        }
    }

    /// Claims and runs one part; false when none is left.
    fn work_once(&self) -> bool {
        let mut unclaimed = self.unclaimed.load(Ordering::Relaxed);
        loop {
            if unclaimed == 0 {
                return false;
            }
            match self.unclaimed.compare_exchange_weak(
                unclaimed,
                unclaimed - 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => unclaimed = now,
            }
        }
        // SAFETY: the claim acquired the caller's release of this operation's task, and the caller waits for the
        // claimed part before it writes the cell again.
        let task = unsafe { *self.task.get() };
        if let Some(task) = task {
            let outcome = catch_unwind(AssertUnwindSafe(|| task(unclaimed - 1)));
            if let Err(panic) = outcome {
                lock(&self.panic).get_or_insert(panic);
            }
        }
        self.unfinished.fetch_sub(1, Ordering::Release);
        true
    }

    fn wait_until_finished(&self) {
        let mut spins = 0;
        while self.unfinished.load(Ordering::Acquire) > 0 {
            if spins < SPINS_BEFORE_YIELD {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Sequentially consistent with `park`: either the sleeper sees the new parts, or this sees the sleeper.
    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    fn park(&self) {
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.unclaimed.load(Ordering::SeqCst) == 0 && !self.shutdown.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The mutexes here guard no data that a panic could leave half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(threads: usize, parts: usize) {
        let workers = Workers::new(threads);
        let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..200 {
            workers.run(parts, &|part| {
                counts[part].fetch_add(1, Ordering::Relaxed);
            });
        }
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 200), "{threads} x {parts}");
    }

    #[test]
    fn every_part_runs_once() {
        for threads in [0, 1, 2, 3, 5] {
            for parts in [0, 1, 2, 7, 64] {
                check(threads, parts);
            }
        }
    }

    #[test]
    fn parked_threads_wake() {
        let workers = Workers::new(3);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            let sum = AtomicUsize::new(0);
            workers.run(10, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn callers_take_turns() {
        let workers = Workers::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        workers.run(8, &|part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 100 * 28);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let workers = Workers::new(3);
        let outcome =
            catch_unwind(AssertUnwindSafe(|| workers.run(16, &|part| assert!(part != 7, "part 7"))));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        workers.run(16, &|part| {
            sum.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 120);
    }
}
