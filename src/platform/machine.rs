//! What the machine offers: its processor's instructions, and open files.

use std::fs;

/// The processor's own name, if the system tells it.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Instructions that make models faster, the oldest first, and whether the processor has them.
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ]
}

/// Instructions that make models faster, the oldest first, and whether the processor has them.
#[cfg(target_arch = "aarch64")]
pub fn instructions() -> Vec<(&'static str, bool)> {
    vec![
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
    ]
}

/// How many files and connections this process may have open; none where there is no limit.
pub fn open_files() -> Option<u64> {
    soft_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{instructions, open_files, soft_limit};

    #[test]
    fn the_soft_limit_is_the_one_that_holds() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(soft_limit("Max open files   unlimited   unlimited   files"), None);
        assert!(open_files().is_none_or(|limit| limit > 0));
    }

    #[test]
    fn a_processor_that_runs_this_has_some_of_the_instructions() {
        assert!(instructions().iter().any(|&(_, has)| has), "{:?}", instructions());
    }
}
