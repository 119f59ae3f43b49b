//! Instances, devices and queues: how requests come to run.

use crate::serving::repository::pbtxt::{Field, Message};
use crate::serving::repository::triton::fields::{
    Read, flag, message, once, only_if, refused, text, unknown, value, whole, word,
};
use crate::serving::repository::triton::optimization;
use crate::serving::repository::triton::translation::Translation;
use crate::serving::runtime::device::{Provider, Providers};

/// Reads `dynamic_batching`.
///
/// # Errors
///
/// [`crate::serving::repository::triton::fields::TritonError`].
pub fn dynamic_batching(field: &Field, translation: &mut Translation) -> Read<()> {
    let inner = message(field)?;
    once(inner, &["preferred_batch_size", "priority_queue_policy"])?;
    translation.note(
        "dynamic_batching: requests that come at once share runs anyway, and none waits for others",
    );
    let levels = "requests wait first come, first served; leave it out";
    for part in &inner.fields {
        match &*part.name {
            "preferred_batch_size" => drop(whole::<u32>(part)?),
            "max_queue_delay_microseconds" => {
                let delay = whole::<u64>(part)?;
                translation.manifest.batching.max_delay_us = Some(delay).filter(|&delay| delay > 0);
                translation
                    .note(format!("max_queue_delay_microseconds {delay}: kept, as none waits"));
            }
            "preserve_ordering" => {
                let instead = "send requests that depend on each other over one stream";
                only_if(!flag(part)?, part, instead)?;
            }
            "priority_levels" | "default_priority_level" => {
                only_if(whole::<u64>(part)? == 0, part, levels)?;
            }
            "priority_queue_policy" => return refused(part, levels),
            "default_queue_policy" => queue_policy(message(part)?, translation)?,
            _ => return unknown(part, "dynamic_batching"),
        }
    }
    if inner.fields.iter().any(|part| part.name == "preferred_batch_size") {
        translation.note("preferred_batch_size: advice only, runs have the rows of their request");
    }
    Ok(())
}

fn queue_policy(policy: &Message, translation: &mut Translation) -> Read<()> {
    once(policy, &[])?;
    let queue = &mut translation.manifest.queue;
    let mut notes = Vec::new();
    for part in &policy.fields {
        match &*part.name {
            "timeout_action" => match word(part)? {
                "REJECT" => {}
                "DELAY" => {
                    return refused(
                        part,
                        "a request that waited too long is refused; leave it out",
                    );
                }
                _ => return Err(value(part, "REJECT")),
            },
            "default_timeout_microseconds" => {
                queue.timeout_us = Some(whole::<u64>(part)?).filter(|&timeout| timeout > 0);
            }
            "allow_timeout_override" => {
                if !flag(part)? {
                    notes.push(
                        "allow_timeout_override false: a request's own `timeout` still ends it",
                    );
                }
            }
            "max_queue_size" => {
                queue.capacity = Some(whole::<usize>(part)?).filter(|&size| size > 0);
                if queue.capacity.is_none() {
                    notes.push(
                        "max_queue_size 0: the server's `serving.queue_capacity` is the bound",
                    );
                }
            }
            _ => return unknown(part, "default_queue_policy"),
        }
    }
    translation.notes.extend(notes.into_iter().map(str::to_owned));
    Ok(())
}

/// Reads `instance_group`, and with it what runs the model.
///
/// # Errors
///
/// As [`dynamic_batching`].
pub fn providers(config: &Message, translation: &mut Translation) -> Read<()> {
    let (mut kind, mut count) = (Kind::Auto, 0_usize);
    let groups = config.fields.iter().filter(|field| field.name == "instance_group");
    for (index, field) in groups.enumerate() {
        let (of_group, instances) = group(field)?;
        if index > 0 && of_group != kind && ![of_group, kind].contains(&Kind::Auto) {
            return Err(value(field, "one kind for all groups"));
        }
        kind = if of_group == Kind::Auto { kind } else { of_group };
        count = count.saturating_add(instances);
    }
    if count > 0 {
        translation.manifest.instances.count = Some(count);
        translation.note(format!(
            "instance_group: {count} at once, at most, on the inference threads; the weights are held once"
        ));
    }
    let accelerators = optimization::accelerators(config)?;
    let providers = match (kind, accelerators.as_slice()) {
        (Kind::Auto, []) => return Ok(()),
        (Kind::Gpu, []) => vec![Provider::Cuda, Provider::Cpu],
        (Kind::Cpu, []) => vec![Provider::Cpu],
        (kind, chosen) => {
            let on_gpu =
                |provider: &Provider| matches!(provider, Provider::TensorRt | Provider::Cuda);
            let mut providers: Vec<Provider> = chosen
                .iter()
                .copied()
                .filter(|provider| kind != Kind::Cpu || !on_gpu(provider))
                .collect();
            if providers.contains(&Provider::TensorRt) && !providers.contains(&Provider::Cuda) {
                providers.push(Provider::Cuda);
            }
            providers.push(Provider::Cpu);
            providers
        }
    };
    match (Providers::new(providers), config.fields.iter().find(|at| at.name == "optimization")) {
        (Ok(providers), _) => translation.manifest.providers = Some(providers),
        (Err(_), Some(field)) => return Err(value(field, "each accelerator once")),
        (Err(_), None) => {}
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Auto,
    Cpu,
    Gpu,
}

fn group(field: &Field) -> Read<(Kind, usize)> {
    let inner = message(field)?;
    once(inner, &["gpus", "secondary_devices", "profile"])?;
    let (mut kind, mut count) = (Kind::Auto, 1);
    for part in &inner.fields {
        match &*part.name {
            // A label without effect, in Triton too.
            "name" => drop(text(part)?),
            "kind" => {
                kind = match word(part)? {
                    "KIND_AUTO" => Kind::Auto,
                    "KIND_CPU" => Kind::Cpu,
                    "KIND_GPU" => Kind::Gpu,
                    _ => return Err(value(part, "KIND_CPU, KIND_GPU or KIND_AUTO")),
                }
            }
            "count" => count = usize::from(whole::<u16>(part)?).max(1),
            "gpus" => only_if(
                whole::<u32>(part)? == 0,
                part,
                "device 0 is used; show another one as it by CUDA_VISIBLE_DEVICES",
            )?,
            "passive" => only_if(!flag(part)?, part, "every instance takes requests")?,
            "host_policy" => {
                only_if(text(part)?.is_empty(), part, "bind the process instead, with numactl")?;
            }
            "rate_limiter" => {
                let instead = "set `count`, or `max_queue_size` of dynamic_batching";
                only_if(message(part)?.fields.is_empty(), part, instead)?;
            }
            "secondary_devices" | "profile" => return refused(part, "it is for TensorRT engines"),
            _ => return unknown(part, "instance_group"),
        }
    }
    Ok((kind, count))
}
