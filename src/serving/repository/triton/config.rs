//! The whole file: each field acts, says what is so anyway, or is refused.

use crate::domain::model::ModelName;
use crate::serving::repository::manifest::{Versions, is_plain};
use crate::serving::repository::pbtxt::{self, Field, Message};
use crate::serving::repository::triton::fields::{
    Read, TritonError, flag, message, once, only_if, refused, text, unknown, value, whole,
};
use crate::serving::repository::triton::optimization;
use crate::serving::repository::triton::scheduling;
use crate::serving::repository::triton::tensors;
use crate::serving::repository::triton::translation::Translation;
use crate::serving::repository::triton::warmup;

/// Reads a `config.pbtxt`; its `name`, if it has one, must be `model`, if that is given.
///
/// # Errors
///
/// [`TritonError`]; nothing that is said is ignored.
pub fn translate(text: &str, model: Option<&ModelName>) -> Read<Translation> {
    let config = pbtxt::parse(text)?;
    once(&config, REPEATED)?;
    let mut translation = Translation::default();
    translation.manifest.schema = Some(1);
    let rows = config.fields.iter().find(|field| field.name == "max_batch_size");
    let rows = rows.map_or(Ok(0), whole::<u32>)?;
    if rows > 0 {
        translation.manifest.batching.max_rows = Some(rows.into());
        translation.note(format!(
            "max_batch_size {rows}: a request has at most {rows} rows, in a first dimension that \
             `dims` leave out"
        ));
    }
    for field in &config.fields {
        read_field(field, (model, rows > 0), &mut translation)?;
    }
    scheduling::providers(&config, &mut translation)?;
    translation.manifest.check().map_err(TritonError::Manifest)?;
    Ok(translation)
}

fn read_field(
    field: &Field,
    (model, batched): (Option<&ModelName>, bool),
    translation: &mut Translation,
) -> Read<()> {
    if let Some((_, instead)) = NOT_OFFERED.iter().find(|(name, _)| *name == field.name) {
        return refused(field, instead);
    }
    match &*field.name {
        // Read before all others, and after them.
        "max_batch_size" | "instance_group" => Ok(()),
        "name" => same_name(field, model),
        "platform" => one_of(field, &["", "onnxruntime_onnx"]),
        "backend" => one_of(field, &["", "onnxruntime"]),
        "runtime" => one_of(field, &[""]),
        "default_model_filename" => file_name(field, translation),
        "version_policy" => {
            translation.manifest.versions = policy(field)?;
            Ok(())
        }
        "input" => tensors::input(field, batched, translation),
        "output" => tensors::output(field, batched, translation),
        "dynamic_batching" => scheduling::dynamic_batching(field, translation),
        "optimization" => optimization::optimization(field, translation),
        "parameters" => optimization::parameter(field, translation),
        "model_warmup" => warmup::sample(field, batched, translation),
        "response_cache" => {
            let instead = "answers are not cached; leave it out";
            switched_off(field, "enable", instead)
        }
        "model_transaction_policy" => {
            let instead = "every request has one answer; leave it out";
            switched_off(field, "decoupled", instead)
        }
        "model_operations" => {
            let empty = message(field)?.fields.is_empty();
            only_if(empty, field, "operators from libraries are not loaded")
        }
        _ => unknown(field, "a model's configuration"),
    }
}

fn file_name(field: &Field, translation: &mut Translation) -> Read<()> {
    let name = text(field)?;
    if !is_plain(name) && !name.is_empty() {
        return Err(value(field, "the name of a file in each version's folder"));
    }
    translation.manifest.file = Some(name.to_owned()).filter(|name| !name.is_empty());
    Ok(())
}

fn same_name(field: &Field, model: Option<&ModelName>) -> Read<()> {
    let name = text(field)?;
    match model.filter(|model| !name.is_empty() && model.as_str() != name) {
        Some(model) => Err(value(field, format!("'{model}', the name of the model's folder"))),
        None => Ok(()),
    }
}

fn one_of(field: &Field, names: &[&str]) -> Read<()> {
    if names.contains(&text(field)?) {
        return Ok(());
    }
    let expected = names.last().filter(|name| !name.is_empty()).map_or_else(
        || "nothing: leave it out".to_owned(),
        |name| format!("'{name}': only ONNX models are served; convert the model to ONNX"),
    );
    Err(value(field, expected))
}

fn policy(field: &Field) -> Read<Option<Versions>> {
    let policy = message(field)?;
    once(policy, &[])?;
    let [choice] = policy.fields.as_slice() else {
        let none = policy.fields.is_empty();
        return if none { Ok(None) } else { Err(value(field, "one of latest, all, specific")) };
    };
    let inner = message(choice)?;
    once(inner, &["versions"])?;
    let within = "version_policy";
    match &*choice.name {
        "latest" => {
            let mut latest = 1;
            for part in &inner.fields {
                match &*part.name {
                    "num_versions" => latest = whole::<u32>(part)?.max(1),
                    _ => return unknown(part, within),
                }
            }
            Ok(Some(Versions::Latest(latest as usize)))
        }
        "all" => {
            inner.fields.first().map_or(Ok(Some(Versions::All(true))), |part| unknown(part, within))
        }
        "specific" => {
            let version = |part: &Field| match &*part.name {
                "versions" => whole::<u64>(part),
                _ => unknown(part, within),
            };
            let numbers = inner.fields.iter().map(version).collect::<Read<Vec<u64>>>()?;
            Ok(Some(Versions::Specific(numbers)))
        }
        _ => unknown(choice, within),
    }
}

// A message of one switch, which must be off.
fn switched_off(field: &Field, name: &str, instead: &'static str) -> Read<()> {
    let inner: &Message = message(field)?;
    once(inner, &[])?;
    for part in &inner.fields {
        if part.name != name {
            return unknown(part, "this message");
        }
        only_if(!flag(part)?, field, instead)?;
    }
    Ok(())
}

const REPEATED: &[&str] = &[
    "input",
    "output",
    "instance_group",
    "parameters",
    "model_warmup",
    "batch_input",
    "batch_output",
    "cc_model_filenames",
    "metric_tags",
];

/// Fields of Triton's that change what is served, and what to do instead.
const NOT_OFFERED: &[(&str, &str)] = &[
    ("ensemble_scheduling", "serve one ONNX file, made by joining the graphs (onnx.compose)"),
    ("sequence_batching", "requests are independent; keep the state in the caller, as tensors"),
    ("batch_input", "give the model such an input from the caller"),
    ("batch_output", "outputs are the model's own"),
    ("cc_model_filenames", "one file serves on every device; use `default_model_filename`"),
    ("metric_tags", "give labels to the scrape job instead"),
    ("model_metrics", "see docs/metrics.md for the metrics there are"),
    ("model_repository_agents", "files are read as they lie in the folder"),
];

#[cfg(test)]
mod tests {
    use super::{Translation, translate};
    use crate::domain::model::ModelName;
    use crate::serving::repository::manifest;
    use proptest::prelude::*;

    fn said(text: &str) -> String {
        let translation = translate(text, None).unwrap_or_else(|error| panic!("{error}"));
        let printed = translation.manifest.to_text();
        assert_eq!(manifest::parse(&printed).unwrap(), translation.manifest, "{printed}");
        let words: Vec<&str> = printed.split_whitespace().skip(3).collect();
        words.join(" ")
    }

    fn refusal(text: &str) -> String {
        translate(text, None).unwrap_err().to_string()
    }

    #[test]
    fn each_field_becomes_what_it_means_and_what_is_so_anyway_becomes_nothing() {
        for (config, expected) in ACCEPTED {
            assert_eq!(said(config), *expected, "{config}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_with_its_place_and_what_to_do() {
        for (config, problem) in REFUSED {
            let found = refusal(config);
            assert!(
                found.starts_with("config.pbtxt:") && found.contains(problem),
                "{config}: {found}"
            );
        }
        let iris = ModelName::parse("iris").unwrap();
        let wrong = translate("name: 'other'", Some(&iris)).unwrap_err().to_string();
        assert!(wrong.contains("'name' is \"other\", expected 'iris', the name of"), "{wrong}");
    }

    proptest! {
        // Whatever is accepted says the same in our words; whatever is not says where.
        #[test]
        fn several_fields_together_come_back_as_they_were_or_are_refused(
            chosen in prop::collection::vec(prop::sample::select(ACCEPTED), 0..6),
            noise in "[a-z0-9:{}' ]{0,12}",
        ) {
            let mut config: Vec<&str> = chosen.into_iter().map(|(config, _)| config).collect();
            config.push(&noise);
            match translate(&config.join("\n"), None) {
                Ok(Translation { manifest, .. }) => {
                    prop_assert_eq!(manifest::parse(&manifest.to_text()).unwrap(), manifest);
                }
                Err(error) => prop_assert!(error.to_string().starts_with("config.pbtxt:")),
            }
        }
    }

    /// What a configuration says, and the words of the `model.toml` that say the same.
    const ACCEPTED: &[(&str, &str)] = &[
        ("backend: 'onnxruntime' platform: 'onnxruntime_onnx' runtime: ''", ""),
        ("default_model_filename: 'm.onnx'", "file = \"m.onnx\""),
        ("version_policy { latest { num_versions: 2 } }", "[versions] latest = 2"),
        ("version_policy: { all {} }", "[versions] all = true"),
        ("version_policy: { specific: { versions: [1, 3] } }", "[versions] specific = [1, 3]"),
        ("max_batch_size: 8", "[batching] max_rows = 8"),
        ("dynamic_batching {}", ""),
        ("dynamic_batching { preferred_batch_size: [4, 8] }", ""),
        ("dynamic_batching { max_queue_delay_microseconds: 100 }", "[batching] max_delay_us = 100"),
        (
            "dynamic_batching { default_queue_policy { timeout_action: REJECT \
             default_timeout_microseconds: 5 allow_timeout_override: true max_queue_size: 9 } }",
            "[queue] capacity = 9 timeout_us = 5",
        ),
        (
            "instance_group [ { count: 2 kind: KIND_CPU } ]",
            "providers = [\"cpu\"] [instances] count = 2",
        ),
        ("instance_group [ { count: 1 }, { count: 2 kind: KIND_AUTO } ]", "[instances] count = 3"),
        (
            "instance_group { kind: KIND_GPU gpus: [0] }",
            "providers = [\"cuda\", \"cpu\"] [instances] count = 1",
        ),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator: [{ name: 'tensorrt' }] } }",
            "providers = [\"tensorrt\", \"cuda\", \"cpu\"]",
        ),
        (
            "optimization { execution_accelerators { cpu_execution_accelerator { name: 'openvino' } } }",
            "providers = [\"openvino\", \"cpu\"]",
        ),
        ("optimization { graph { level: 1 } }", "[session] graph = \"extended\""),
        (
            "optimization { graph { level: -1 } priority: PRIORITY_DEFAULT }",
            "[session] graph = \"basic\"",
        ),
        ("optimization { graph { level: 2 } }", "[session] graph = \"off\""),
        ("optimization { graph { level: 0 } input_pinned_memory { enable: true } }", ""),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: '2' } }",
            "[threads] intra = 2",
        ),
        (
            "parameters [ { key: 'execution_mode' value { string_value: '1' } }, \
             { key: 'inter_op_thread_count' value { string_value: '3' } } ]",
            "[threads] inter = 3 [session] parallel = true",
        ),
        (
            "parameters { key: 'enable_mem_arena' value { string_value: '1' } } \
             parameters { key: 'enable_mem_pattern' value { string_value: '0' } }",
            "[session] arena = true memory_pattern = false",
        ),
        ("response_cache { enable: false } model_transaction_policy { decoupled: False }", ""),
        (
            "input { name: 'x' data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }",
            "[inputs.x] datatype = \"FP32\" shape = [1] model_shape = []",
        ),
        (
            "max_batch_size: 4 output { name: 'y' data_type: TYPE_STRING dims: [ 1 ] \
             reshape: { shape: [ ] } label_filename: 'labels.txt' }",
            "[batching] max_rows = 4 [outputs.y] datatype = \"BYTES\" shape = [-1, 1] \
             model_shape = [-1] [labels] y = \"labels.txt\"",
        ),
        (
            "max_batch_size: 4 model_warmup { name: 'w' batch_size: 4 inputs { key: 'x' value { \
             data_type: TYPE_FP32 dims: [3] random_data: true } } }",
            "[batching] max_rows = 4 [[warmup.samples]] name = \"w\" rows = 4 count = 1 \
             [warmup.samples.inputs.x] datatype = \"FP32\" shape = [3] data = \"random\"",
        ),
    ];

    /// What a configuration says, and a part of its refusal.
    const REFUSED: &[(&str, &str)] = &[
        (
            "backend: 'tensorflow'",
            "1:1: 'backend' is \"tensorflow\", expected 'onnxruntime': only ONNX",
        ),
        ("platform: 'ensemble'", "'platform' is \"ensemble\", expected 'onnxruntime_onnx'"),
        (
            "\n ensemble_scheduling {}",
            "config.pbtxt:2:2: 'ensemble_scheduling' is not offered: serve one",
        ),
        ("sequence_batching {}", "'sequence_batching' is not offered: requests are independent"),
        (
            "model_transaction_policy { decoupled: true }",
            "is not offered: every request has one answer",
        ),
        (
            "response_cache { enable: true }",
            "'response_cache' is not offered: answers are not cached",
        ),
        (
            "model_operations { op_library_filename: 'x.so' }",
            "operators from libraries are not loaded",
        ),
        ("model_repository_agents {}", "is not offered: files are read as they lie"),
        ("metric_tags { key: 'a' value: 'b' }", "'metric_tags' is not offered"),
        ("batch_input {}", "'batch_input' is not offered"),
        ("cc_model_filenames { key: '7.5' value: 'x' }", "'cc_model_filenames' is not offered"),
        ("input { name: 'x' allow_ragged_batch: true }", "'allow_ragged_batch' is not offered"),
        ("input { name: 'x' is_shape_tensor: true }", "'is_shape_tensor' is not offered"),
        ("input { name: 'x' format: FORMAT_NHWC }", "'format' is not offered"),
        ("input { data_type: TYPE_FP32 }", "'input' is a message, expected one with a name"),
        ("input { name: 'x' data_type: TYPE_INVALID }", "'data_type' is TYPE_INVALID, expected"),
        ("input { name: 'x' dims: [0] }", "inputs.x.shape is '0', expected sizes of 1 or more"),
        ("input { name: 'x' dims: [2] reshape { shape: [3] } }", "inputs.x.model_shape is [3]"),
        ("instance_group { kind: KIND_MODEL }", "'kind' is KIND_MODEL, expected KIND_CPU"),
        ("instance_group [{ kind: KIND_CPU }, { kind: KIND_GPU }]", "one kind for all groups"),
        ("instance_group { gpus: [1] }", "'gpus' is not offered"),
        ("instance_group { passive: true }", "'passive' is not offered"),
        ("instance_group { host_policy: 'a' }", "'host_policy' is not offered"),
        ("instance_group { rate_limiter { priority: 1 } }", "'rate_limiter' is not offered"),
        ("dynamic_batching { priority_levels: 2 }", "'priority_levels' is not offered"),
        ("dynamic_batching { preserve_ordering: true }", "'preserve_ordering' is not offered"),
        ("dynamic_batching { priority_queue_policy { key: 1 } }", "'priority_queue_policy' is not"),
        (
            "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
            "'timeout_action' is not offered: a request that waited too long is refused",
        ),
        ("optimization { priority: PRIORITY_MAX }", "'priority' is not offered"),
        ("optimization { cuda { graphs: true } }", "'graphs' is not offered"),
        ("optimization { eager_batching: true }", "'eager_batching' is not offered"),
        ("optimization { graph { level: 7 } }", "'level' is 7, expected -1, 0, 1 or 2"),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator { name: 'tensorrt' \
             parameters { key: 'precision_mode' value: 'FP16' } } } }",
            "'parameters' is not offered",
        ),
        (
            "optimization { execution_accelerators { cpu_execution_accelerator { name: 'xnn' } } }",
            "'name' is \"xnn\", expected openvino",
        ),
        (
            "parameters { key: 'cudnn_conv_algo_search' value { string_value: '1' } }",
            "'cudnn_conv_algo_search' is not offered",
        ),
        (
            "parameters { key: 'my_own' value { string_value: '1' } }",
            "'my_own' is no field of the ONNX",
        ),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: 'many' } }",
            "'intra_op_thread_count' is \"many\", expected a number of threads",
        ),
        (
            "model_warmup { inputs { key: 'x' value { dims: [1] } } }",
            "'value' is a message, expected",
        ),
        ("model_warmup { batch_size: 2 }", "'batch_size' is 2, expected 1: max_batch_size is 0"),
        (
            "model_warmup { inputs { key: 'x' value { data_type: TYPE_FP32 input_data_file: '../x' } } }",
            "'input_data_file' is \"../x\", expected the name of a file",
        ),
        ("max_batch_size: -1", "'max_batch_size' is -1, expected a whole number"),
        ("max_batch_size: 1 max_batch_size: 2", "1:19: 'max_batch_size' is given twice"),
        ("max_batch: 1", "'max_batch' is no field of a model's configuration"),
        ("dynamic_batching { delay: 1 }", "'delay' is no field of dynamic_batching"),
        ("name: ", "config.pbtxt:1:7: found the end, expected a value"),
    ];
}
