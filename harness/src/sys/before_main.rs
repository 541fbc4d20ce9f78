//! Code that runs before `main`: a program that is started again as a worker, or as a server, never gets to its own.

/// Calls the function before `main` of every program that this crate is linked into.
///
/// The function uses the environment, descriptors, signals and the heap, and nothing that std sets up for `main`.
macro_rules! before_main {
    ($function:expr) => {
        const _: () = {
            // SAFETY: `ctor` asks that the function does not rely on std's runtime, which is not set up yet: see above.
            // What it does use, libc has set up before any constructor of the program runs.
            #[ctor::ctor(unsafe)]
            fn call() {
                let function: fn() = $function;
                function();
            }
        };
    };
}
pub(crate) use before_main;
