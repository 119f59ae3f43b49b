//! Execution providers in ONNX Runtime: registers them, and counts their nodes.
//!
//! Nothing here falls back: a provider that was asked for is registered, or opening fails with a
//! text that says what to do (decision 0012).
#![expect(unsafe_code, reason = "the crate has no call for what a library offers, nor for counts")]

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::ptr;

use ort::AsPointer;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ArenaExtendStrategy, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys;

use crate::serving::runtime::device::{Arena, ConvSearch, Devices, Provider};
use crate::serving::runtime::engine::{Placed, RunError};
use crate::serving::runtime::onnx::values::check;

/// A provider that ONNX Runtime did not register, with its words.
#[derive(Debug)]
pub struct Unregistered {
    /// Which one.
    pub provider: Provider,
    /// Its words.
    pub reason: String,
}

/// Registers what was asked for, in order; `cache` is a folder for what providers build.
///
/// # Errors
///
/// [`Unregistered`], for the first that cannot be had.
pub fn register(
    builder: &mut SessionBuilder,
    devices: &Devices,
    arena: bool,
    cache: Option<&Path>,
) -> Result<(), Unregistered> {
    // The processor is always there; only its allocator is ours to choose.
    let cpu = (!devices.providers.has_cpu()).then_some(Provider::Cpu);
    for provider in devices.providers.as_slice().iter().copied().chain(cpu) {
        let dispatch = match provider {
            Provider::Cpu => ep::CPU::default().with_arena_allocator(arena).build(),
            Provider::Cuda => cuda(devices),
            Provider::TensorRt => tensorrt(devices, cache),
            Provider::OpenVino => openvino(devices, cache),
        };
        dispatch
            .register(builder)
            .map_err(|error| Unregistered { provider, reason: shortened(error.message()) })?;
    }
    Ok(())
}

fn cuda(devices: &Devices) -> ExecutionProviderDispatch {
    let options = &devices.cuda;
    let arena = match options.arena {
        Arena::NextPowerOfTwo => ArenaExtendStrategy::NextPowerOfTwo,
        Arena::SameAsRequested => ArenaExtendStrategy::SameAsRequested,
    };
    let search = match options.conv_search {
        ConvSearch::Exhaustive => ConvAlgorithmSearch::Exhaustive,
        ConvSearch::Heuristic => ConvAlgorithmSearch::Heuristic,
        ConvSearch::Default => ConvAlgorithmSearch::Default,
    };
    let mut provider = ep::CUDA::default()
        .with_device_id(options.device.into())
        .with_arena_extend_strategy(arena)
        .with_conv_algorithm_search(search)
        .with_tf32(options.tf32);
    if options.memory_limit_bytes > 0 {
        let limit = usize::try_from(options.memory_limit_bytes).unwrap_or(usize::MAX);
        provider = provider.with_memory_limit(limit);
    }
    provider.build()
}

fn tensorrt(devices: &Devices, cache: Option<&Path>) -> ExecutionProviderDispatch {
    let options = &devices.tensorrt;
    let mut provider =
        ep::TensorRT::default().with_device_id(options.device.into()).with_fp16(options.fp16);
    if options.workspace_bytes > 0 {
        let most = usize::try_from(options.workspace_bytes).unwrap_or(usize::MAX);
        provider = provider.with_max_workspace_size(most);
    }
    if let Some(folder) = cache {
        let folder = folder.display();
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(folder.to_string())
            .with_timing_cache(true)
            .with_timing_cache_path(folder);
    }
    provider.build()
}

fn openvino(devices: &Devices, cache: Option<&Path>) -> ExecutionProviderDispatch {
    let options = &devices.openvino;
    let mut provider = ep::OpenVINO::default().with_device_type(options.device.as_str());
    if options.threads > 0 {
        provider = provider.with_num_threads(options.threads.into());
    }
    if let Some(folder) = cache {
        provider = provider.with_cache_dir(folder.display());
    }
    provider.build()
}

/// The providers that the loaded library was built with, by our names where we have one.
pub fn offered() -> Vec<String> {
    let (mut names, mut count) = (ptr::null_mut::<*mut c_char>(), 0);
    // SAFETY: both are places for results.
    let asked =
        check(unsafe { (ort::api().GetAvailableProviders)(&raw mut names, &raw mut count) });
    if asked.is_err() || names.is_null() {
        return Vec::new();
    }
    let length = usize::try_from(count).unwrap_or(0);
    // SAFETY: the library gave `length` C strings, which live until they are released below.
    let mut offered: Vec<String> = unsafe {
        let texts = std::slice::from_raw_parts(names, length);
        texts.iter().map(|&text| own_name(&CStr::from_ptr(text).to_string_lossy())).collect()
    };
    // SAFETY: what `GetAvailableProviders` gave, released once. It cannot fail in a way that matters.
    check(unsafe { (ort::api().ReleaseAvailableProviders)(names, count) }).ok();
    offered.sort_unstable();
    offered
}

/// How many nodes each provider runs: those asked for, and any that came in by itself.
///
/// Counted when the graph is divided among providers: what one of them fuses or compiles later
/// still counts as the nodes that it was. Bodies of loops and branches count too. The session must
/// have been opened with [`RECORD`].
///
/// # Errors
///
/// ONNX Runtime's own.
pub fn placed(session: &Session, asked: &[Provider]) -> Result<Vec<Placed>, RunError> {
    let none = |&provider: &Provider| Placed { provider: provider.name().to_owned(), nodes: 0 };
    let mut placed: Vec<Placed> = asked.iter().map(none).collect();
    let (mut parts, mut count) = (ptr::null(), 0);
    let session = session.inner();
    // SAFETY: the session is alive for the whole function, and both are places for results.
    check(unsafe {
        (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut parts, &raw mut count)
    })?;
    if parts.is_null() {
        return Ok(placed);
    }
    // SAFETY: an array of that length, which belongs to the session.
    for &part in unsafe { std::slice::from_raw_parts(parts, count) } {
        let (provider, nodes) = assigned(part)?;
        match placed.iter_mut().find(|placed| placed.provider == provider) {
            Some(placed) => placed.nodes += nodes,
            None => placed.push(Placed { provider, nodes }),
        }
    }
    Ok(placed)
}

fn assigned(part: *const sys::OrtEpAssignedSubgraph) -> Result<(String, u64), RunError> {
    let (mut name, mut nodes, mut count) = (ptr::null(), ptr::null(), 0);
    // SAFETY: `part` belongs to a session that our caller holds; the others are places for results.
    unsafe {
        check((ort::api().EpAssignedSubgraph_GetEpName)(part, &raw mut name))?;
        check((ort::api().EpAssignedSubgraph_GetNodes)(part, &raw mut nodes, &raw mut count))?;
    }
    // SAFETY: a C string that belongs to the session.
    let name = if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } };
    Ok((own_name(&name.to_string_lossy()), u64::try_from(count).unwrap_or(u64::MAX)))
}

fn own_name(theirs: &str) -> String {
    let ours = Provider::ALL.into_iter().find(|provider| theirs == their_name(*provider));
    ours.map_or_else(|| theirs.to_owned(), |provider| provider.name().to_owned())
}

fn their_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => ep::CPU::NAME,
        Provider::Cuda => ep::CUDA::NAME,
        Provider::TensorRt => ep::TensorRT::NAME,
        Provider::OpenVino => ep::OpenVINO::NAME,
    }
}

/// ONNX Runtime's words without the place in its sources, and not a page of them.
pub fn shortened(words: &str) -> String {
    let first = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    let told = first.rsplit(" : FAIL : ").next().unwrap_or(first).trim().trim_end_matches('.');
    let mut short: String = told.chars().take(LONGEST).collect();
    if short.len() < told.len() {
        short.push_str("...");
    }
    short
}

/// The session's key that makes ONNX Runtime note which provider runs what.
pub const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Characters of a reason that are worth reading.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::{LONGEST, shortened};

    #[test]
    fn a_reason_is_one_line_without_the_place_in_the_sources() {
        let words = "/src/provider_bridge_ort.cc:2210 Get [ONNXRuntimeError] : 1 : FAIL : Failed to \
                     load library.\nwith a second line";
        assert_eq!(shortened(words), "Failed to load library");
        assert_eq!(shortened("\n"), "no reason given");
        let long = shortened(&"ü".repeat(LONGEST + 1));
        assert_eq!((long.chars().count(), long.ends_with("ü...")), (LONGEST + 3, true));
    }
}
