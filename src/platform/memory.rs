//! Allocators, resident memory, and the process at its start.
//!
//! ONNX Runtime allocates through glibc, whose `mmap` threshold grows with the first large block
//! that is freed; from then on weights live in the heap and fragment it (measured: 537 MB resident
//! after 20 reloads of a 201 MB model, 35 MB with the threshold fixed and a trim after each unload).
#![expect(unsafe_code, reason = "allocator settings and the environment are C calls")]

use std::fs;

use mimalloc::MiMalloc;

/// Allocates for all of our own code; ONNX Runtime's library keeps glibc's.
#[global_allocator]
static RUST_SIDE: MiMalloc = MiMalloc;

/// Fixes the allocator's threshold and silences ONNX Runtime's telemetry.
///
/// The telemetry switch of ONNX Runtime's API is not enough: measured, the library still looks up
/// a name, opens sockets and writes to the user's cache folder unless a variable is set. Call it
/// first thing in `main`: with more than one thread the environment is left as it is.
pub fn prepare_process() {
    if threads() == 1 {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    }
    fix_mmap_threshold();
}

/// Gives freed memory of ONNX Runtime's allocator back to the system; milliseconds, not for the
/// request path.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes no pointer and locks the allocator itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of this process that are in memory; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: `sysconf` reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

/// Bytes that this process alone holds, in memory or swapped out; `None` where the system does not
/// tell.
///
/// Files that are mapped do not count: the system takes their pages back as it likes.
pub fn private_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(kib(&status, "RssAnon:")?.checked_add(kib(&status, "VmSwap:")?)? * 1024)
}

// A line such as `RssAnon:      4212 kB` (proc_pid_status(5)).
fn kib(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn fix_mmap_threshold() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes two integers and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 131_072);
    }
}
