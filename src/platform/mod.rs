//! What we borrow from outside: time, storage, processors, threads, telemetry.

pub mod clock;
pub mod cores;
pub mod machine;
pub mod memory;
pub mod process;
pub mod quiet;
pub mod store;
pub mod sync;
pub mod telemetry;
