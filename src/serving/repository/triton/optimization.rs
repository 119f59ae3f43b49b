//! `optimization` and the ONNX backend's `parameters`: how a session is made.

use crate::serving::repository::pbtxt::{Field, Message};
use crate::serving::repository::triton::fields::{
    Read, TritonError, entry, flag, message, once, only_if, refused, text, unknown, value, whole,
    word,
};
use crate::serving::repository::triton::translation::Translation;
use crate::serving::runtime::device::Provider;
use crate::serving::runtime::tuning::Graph;

/// Reads `optimization`, all but its accelerators.
///
/// # Errors
///
/// [`TritonError`].
pub fn optimization(field: &Field, translation: &mut Translation) -> Read<()> {
    let inner = message(field)?;
    once(inner, &[])?;
    for part in &inner.fields {
        match &*part.name {
            "graph" => translation.manifest.session.graph = graph(message(part)?)?,
            "priority" => {
                let neutral = word(part)? == "PRIORITY_DEFAULT";
                only_if(neutral, part, "heavy models take turns; leave it out")?;
            }
            "cuda" => cuda(message(part)?)?,
            // Read together with instance groups.
            "execution_accelerators" => {}
            "input_pinned_memory" | "output_pinned_memory" => {
                let pinned = message(part)?;
                for switch in &pinned.fields {
                    match &*switch.name {
                        "enable" => drop(flag(switch)?),
                        _ => return unknown(switch, "this message"),
                    }
                }
                translation
                    .note(format!("{}: tensors go from and to the caller's bytes", part.name));
            }
            "gather_kernel_buffer_threshold" => {
                only_if(whole::<u32>(part)? == 0, part, "inputs are not gathered; leave it out")?;
            }
            "eager_batching" => {
                only_if(!flag(part)?, part, "requests run at once; leave it out")?;
            }
            _ => return unknown(part, "optimization"),
        }
    }
    Ok(())
}

fn graph(graph: &Message) -> Read<Option<Graph>> {
    once(graph, &[])?;
    let mut level = None;
    for part in &graph.fields {
        level = match (&*part.name, whole::<i32>(part).ok()) {
            ("level", Some(-1)) => Some(Graph::Basic),
            ("level", Some(0)) => None,
            ("level", Some(1)) => Some(Graph::Extended),
            ("level", Some(2)) => Some(Graph::Off),
            ("level", _) => return Err(value(part, "-1, 0, 1 or 2")),
            _ => return unknown(part, "graph"),
        };
    }
    Ok(level)
}

fn cuda(cuda: &Message) -> Read<()> {
    for part in &cuda.fields {
        match &*part.name {
            "graphs" | "busy_wait_events" | "output_copy_stream" => {
                only_if(
                    !flag(part)?,
                    part,
                    "the CUDA provider runs with its defaults; leave it out",
                )?;
            }
            "graph_spec" => return refused(part, "CUDA graphs are not captured; leave it out"),
            _ => return unknown(part, "cuda"),
        }
    }
    Ok(())
}

/// Providers that `optimization.execution_accelerators` names, in its order.
///
/// # Errors
///
/// [`TritonError`].
pub fn accelerators(config: &Message) -> Read<Vec<Provider>> {
    let mut providers = Vec::new();
    let named = |name: &'static str| move |field: &&Field| field.name == name;
    for optimization in config.fields.iter().filter(named("optimization")) {
        let inner = message(optimization)?;
        for field in inner.fields.iter().filter(named("execution_accelerators")) {
            for part in &message(field)?.fields {
                let known: &[(&str, Provider)] = match &*part.name {
                    "gpu_execution_accelerator" => {
                        &[("tensorrt", Provider::TensorRt), ("cuda", Provider::Cuda)]
                    }
                    "cpu_execution_accelerator" => &[("openvino", Provider::OpenVino)],
                    _ => return unknown(part, "execution_accelerators"),
                };
                providers.push(accelerator(part, known)?);
            }
        }
    }
    Ok(providers)
}

fn accelerator(field: &Field, known: &[(&str, Provider)]) -> Read<Provider> {
    let inner = message(field)?;
    once(inner, &["parameters"])?;
    let mut provider = None;
    for part in &inner.fields {
        match &*part.name {
            "name" => {
                let name = text(part)?;
                let row = known.iter().find(|(theirs, _)| *theirs == name);
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                provider = Some(row.ok_or_else(|| value(part, names.join(" or ")))?.1);
            }
            "parameters" => {
                return refused(part, "the accelerator runs with its defaults; leave it out");
            }
            _ => return unknown(part, "an accelerator"),
        }
    }
    provider.ok_or_else(|| value(field, "an accelerator with a name"))
}

/// Reads one of the backend's `parameters`.
///
/// # Errors
///
/// [`TritonError`].
pub fn parameter(field: &Field, translation: &mut Translation) -> Read<()> {
    let (key, found) = entry(field)?;
    let mut said = "";
    if let Some(found) = found {
        for part in &message(found)?.fields {
            match &*part.name {
                "string_value" => said = text(part)?,
                _ => return unknown(part, "a parameter's value"),
            }
        }
    }
    let at = field.at;
    let wrong = |expected: &str| TritonError::Value {
        at,
        field: key.to_owned(),
        found: format!("{said:?}"),
        expected: expected.to_owned(),
    };
    let threads = || said.parse::<u16>().map_err(|_| wrong("a number of threads"));
    let switch = || match said {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(wrong("0 or 1")),
    };
    let manifest = &mut translation.manifest;
    match key {
        // 0 is what Triton takes where nothing is said.
        "intra_op_thread_count" => {
            manifest.threads.intra = Some(threads()?).filter(|&count| count > 0);
        }
        "inter_op_thread_count" => {
            manifest.threads.inter = Some(threads()?).filter(|&count| count > 0);
        }
        "execution_mode" => {
            manifest.session.parallel = Some(switch()?).filter(|&parallel| parallel);
        }
        "enable_mem_arena" => manifest.session.arena = Some(switch()?),
        "enable_mem_pattern" => manifest.session.memory_pattern = Some(switch()?),
        "memory.enable_memory_arena_shrinkage" if said.is_empty() => {}
        "session.use_device_allocator_for_initializers" if said == "0" => {}
        key if NOT_OFFERED.contains(&key) => {
            let instead = "the provider runs with its defaults; leave it out";
            return Err(TritonError::Refused { at, field: key.to_owned(), instead });
        }
        _ => {
            let within = "the ONNX backend's parameters";
            return Err(TritonError::Unknown { at, field: key.to_owned(), within });
        }
    }
    Ok(())
}

/// Parameters of Triton's ONNX backend that nothing here acts on.
const NOT_OFFERED: &[&str] = &[
    "memory.enable_memory_arena_shrinkage",
    "session.use_device_allocator_for_initializers",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "cudnn_conv1d_pad_to_nc1d",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
    "tunable_op_enable",
    "use_ep_level_unified_stream",
];
