//! Changes model files so that they serve: ZipMap outputs, missing locales.
//!
//! Works on the bytes of a `ModelProto` (onnx.proto) and keeps whatever it does not change, see
//! decision 0011. The bytes may be anybody's: what cannot be read is left to ONNX Runtime, which
//! says what is wrong with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::serving::runtime::onnx::node::Node;
use crate::serving::runtime::onnx::schema::{
    attribute, function, graph, kind, model, node, value_info,
};
use crate::serving::runtime::onnx::wire::{self, Broken, Edit, Field};

/// A model file that was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewritten {
    /// The whole file.
    pub model: Vec<u8>,
    /// Outputs that a ZipMap made.
    pub zipmaps: Vec<ZipMap>,
    /// What was changed beside them, one sentence each.
    pub notes: Vec<String>,
}

/// A ZipMap that became a tensor `[rows, classes]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZipMap {
    /// The output's name.
    pub output: String,
    /// The classes' names, as text.
    pub labels: Arc<[Arc<str>]>,
    /// The same as a JSON array, whose numbers are numbers.
    pub json: Arc<str>,
}

/// Changes a model where it needs that to serve; none where it serves as it is, or is broken.
///
/// `has_locale` says whether this machine has the locale of that name.
pub fn rewrite(model: &[u8], has_locale: &dyn Fn(&str) -> bool) -> Option<Rewritten> {
    let zipmaps = zipmaps(model).ok()?;
    let mut rewriter = Rewriter { zipmaps, has_locale, notes: Vec::new() };
    let model = rewriter.model(model).ok()??;
    Some(Rewritten { model, zipmaps: rewriter.zipmaps, notes: rewriter.notes })
}

struct Rewriter<'a> {
    zipmaps: Vec<ZipMap>,
    has_locale: &'a dyn Fn(&str) -> bool,
    notes: Vec<String>,
}

impl Rewriter<'_> {
    fn model(&mut self, model: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        wire::edit(model, |field| {
            let changed = match field.number {
                model::GRAPH => self.main_graph(field.bytes())?,
                model::FUNCTIONS => self.nodes(field.bytes(), function::NODE, 0)?,
                _ => None,
            };
            Ok(changed.map_or(Edit::Keep, Edit::Put))
        })
    }

    // ZipMaps count in the main graph alone: only its outputs leave the model.
    fn main_graph(&mut self, graph: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        wire::edit(graph, |field| {
            let bytes = field.bytes();
            let changed = match field.number {
                graph::NODE => match Node::read(bytes)? {
                    node if self.made_by(&node).is_some() => Some(identity(bytes)?),
                    node => self.node(bytes, &node, 0)?,
                },
                graph::OUTPUT => self
                    .zipmap(value_name(bytes)?)
                    .map(|zipmap| tensor_of_floats(bytes, zipmap.labels.len() as u64))
                    .transpose()?,
                graph::VALUE_INFO if self.zipmap(value_name(bytes)?).is_some() => {
                    return Ok(Edit::Drop);
                }
                _ => None,
            };
            Ok(changed.map_or(Edit::Keep, Edit::Put))
        })
    }

    fn nodes(
        &mut self,
        graph: &[u8],
        number: u64,
        depth: usize,
    ) -> Result<Option<Vec<u8>>, Broken> {
        if depth > DEEPEST {
            return Err(Broken);
        }
        wire::edit(graph, |field| {
            if field.number != number {
                return Ok(Edit::Keep);
            }
            let changed = self.node(field.bytes(), &Node::read(field.bytes())?, depth)?;
            Ok(changed.map_or(Edit::Keep, Edit::Put))
        })
    }

    fn node(
        &mut self,
        bytes: &[u8],
        node: &Node<'_>,
        depth: usize,
    ) -> Result<Option<Vec<u8>>, Broken> {
        if let Some(missing) = self.missing_locale(node) {
            let note = format!(
                "a StringNormalizer asks for the locale '{missing}', which is not here: it gets \
                 {LOCALE}"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
            return with_locale(bytes, node).map(Some);
        }
        if node.attributes.iter().all(|attribute| attribute.graphs.is_empty()) {
            return Ok(None);
        }
        // Branches and bodies of loops.
        wire::edit(bytes, |field| {
            if field.number != node::ATTRIBUTE {
                return Ok(Edit::Keep);
            }
            let changed = wire::edit(field.bytes(), |field| {
                if !matches!(field.number, attribute::G | attribute::GRAPHS) {
                    return Ok(Edit::Keep);
                }
                let changed = self.nodes(field.bytes(), graph::NODE, depth + 1)?;
                Ok(changed.map_or(Edit::Keep, Edit::Put))
            })?;
            Ok(changed.map_or(Edit::Keep, Edit::Put))
        })
    }

    fn zipmap(&self, output: &[u8]) -> Option<&ZipMap> {
        self.zipmaps.iter().find(|zipmap| zipmap.output.as_bytes() == output)
    }

    fn made_by(&self, node: &Node<'_>) -> Option<&ZipMap> {
        self.zipmap(node.outputs.first().filter(|_| node.is_zipmap())?)
    }

    // ONNX Runtime opens the locale only where letters change, or are compared whatever their case.
    fn missing_locale(&self, node: &Node<'_>) -> Option<String> {
        if node.op_type != b"StringNormalizer" || !matches!(node.domain, b"" | b"ai.onnx") {
            return None;
        }
        let changes = matches!(node.attribute(b"case_change_action").text, b"LOWER" | b"UPPER");
        let compares = !node.attribute(b"stopwords").texts.is_empty()
            && node.attribute(b"is_case_sensitive").number == 0;
        if !changes && !compares {
            return None;
        }
        let asked = node.attributes.iter().find(|attribute| attribute.name == b"locale");
        let asked =
            asked.map_or(DEFAULT_LOCALE.into(), |asked| String::from_utf8_lossy(asked.text));
        let missing = !(self.has_locale)(&asked) && (self.has_locale)(LOCALE);
        missing.then(|| asked.into_owned())
    }
}

// The ZipMaps that can become tensors: what they make leaves the model, and nothing in it reads it.
fn zipmaps(model: &[u8]) -> Result<Vec<ZipMap>, Broken> {
    let (mut outputs, mut nodes) = (BTreeSet::new(), Vec::new());
    for field in wire::fields(model) {
        let field = field?;
        if field.number != model::GRAPH {
            continue;
        }
        for field in wire::fields(field.bytes()) {
            let field = field?;
            match field.number {
                graph::OUTPUT => drop(outputs.insert(value_name(field.bytes())?)),
                graph::NODE => nodes.push(Node::read(field.bytes())?),
                _ => {}
            }
        }
    }
    let made = nodes.iter().filter(|node| node.is_zipmap());
    let mut found: Vec<ZipMap> = made.filter_map(zipmap_of).collect();
    found.retain(|zipmap| outputs.contains(zipmap.output.as_bytes()));
    if !found.is_empty() {
        let mut read = BTreeSet::new();
        nodes.iter().try_for_each(|node| names_read(node, 0, &mut read))?;
        found.retain(|zipmap| !read.contains(zipmap.output.as_bytes()));
    }
    Ok(found)
}

fn names_read<'a>(
    node: &Node<'a>,
    depth: usize,
    read: &mut BTreeSet<&'a [u8]>,
) -> Result<(), Broken> {
    if depth > DEEPEST {
        return Err(Broken);
    }
    read.extend(&node.inputs);
    for graph in node.attributes.iter().flat_map(|attribute| &attribute.graphs) {
        for field in wire::fields(graph) {
            let field = field?;
            if field.number == graph::NODE {
                names_read(&Node::read(field.bytes())?, depth + 1, read)?;
            }
        }
    }
    Ok(())
}

fn zipmap_of(node: &Node<'_>) -> Option<ZipMap> {
    let output = String::from_utf8(node.outputs.first()?.to_vec()).ok()?;
    let texts = &node.attribute(b"classlabels_strings").texts;
    let numbers = node.attribute(b"classlabels_int64s").numbers().ok()?;
    let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
    let (labels, json): (Arc<[Arc<str>]>, _) = if texts.is_empty() {
        let labels = numbers.iter().map(|number| number.to_string().into());
        (labels.collect(), serde_json::to_string(&numbers))
    } else {
        let labels = texts.iter().map(|text| Arc::from(&**text));
        (labels.collect(), serde_json::to_string(&texts))
    };
    let json = json.ok().filter(|_| !labels.is_empty())?.into();
    Some(ZipMap { output, labels, json })
}

fn value_name(value: &[u8]) -> Result<&[u8], Broken> {
    let mut name: &[u8] = b"";
    for field in wire::fields(value) {
        let field = field?;
        if field.number == value_info::NAME {
            name = field.bytes();
        }
    }
    Ok(name)
}

// The same node as an Identity of the standard operators.
fn identity(node: &[u8]) -> Result<Vec<u8>, Broken> {
    let changed = wire::edit(node, |field| {
        Ok(match field.number {
            node::OP_TYPE => Edit::Put(b"Identity".to_vec()),
            node::DOMAIN | node::ATTRIBUTE => Edit::Drop,
            _ => Edit::Keep,
        })
    })?;
    changed.ok_or(Broken)
}

// The same value, but a tensor of 32-bit floats `[any, width]`.
fn tensor_of_floats(value: &[u8], width: u64) -> Result<Vec<u8>, Broken> {
    let drop_type = |field: Field<'_>| {
        Ok(if field.number == value_info::TYPE { Edit::Drop } else { Edit::Keep })
    };
    let mut value = wire::edit(value, drop_type)?.unwrap_or_else(|| value.to_vec());
    let (mut classes, mut shape, mut tensor, mut whole) = (vec![], vec![], vec![], vec![]);
    wire::put_number(&mut classes, kind::DIM_VALUE, width);
    wire::put(&mut shape, kind::DIM, b"");
    wire::put(&mut shape, kind::DIM, &classes);
    wire::put_number(&mut tensor, kind::ELEM_TYPE, kind::FLOAT);
    wire::put(&mut tensor, kind::SHAPE, &shape);
    wire::put(&mut whole, kind::TENSOR_TYPE, &tensor);
    wire::put(&mut value, value_info::TYPE, &whole);
    Ok(value)
}

fn with_locale(bytes: &[u8], node: &Node<'_>) -> Result<Vec<u8>, Broken> {
    let mut attribute = Vec::new();
    wire::put(&mut attribute, attribute::NAME, b"locale");
    wire::put(&mut attribute, attribute::S, LOCALE.as_bytes());
    wire::put_number(&mut attribute, attribute::TYPE, attribute::STRING);
    let mut others = node.attributes.iter().map(|attribute| attribute.name != b"locale");
    let without = wire::edit(bytes, |field| {
        let stays = field.number != node::ATTRIBUTE || others.next() == Some(true);
        Ok(if stays { Edit::Keep } else { Edit::Drop })
    })?;
    let mut changed = without.unwrap_or_else(|| bytes.to_vec());
    wire::put(&mut changed, node::ATTRIBUTE, &attribute);
    Ok(changed)
}

/// What ONNX Runtime takes where a StringNormalizer names no locale.
const DEFAULT_LOCALE: &str = "en_US.UTF-8";

/// What knows all letters, and is in every image of ours.
const LOCALE: &str = "C.UTF-8";

/// Graphs within graphs; protobuf itself reads no deeper than 100 messages, and each takes three.
const DEEPEST: usize = 33;

#[cfg(test)]
mod tests {
    use super::{Rewritten, rewrite};
    use crate::serving::runtime::onnx::node::Node;
    use crate::serving::runtime::onnx::schema::{attribute, graph, model, node, value_info};
    use crate::serving::runtime::onnx::wire;
    use proptest::prelude::*;

    fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (number, bytes) in fields {
            wire::put(&mut message, *number, bytes);
        }
        message
    }

    fn text(name: &str, number: u64, value: &[u8]) -> Vec<u8> {
        message(&[(attribute::NAME, name.as_bytes()), (number, value)])
    }

    /// A node whose operator reads `x` and makes `y`.
    fn one(domain: &str, op_type: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut node = message(&[
            (node::INPUT, b"x"),
            (node::OUTPUT, b"y"),
            (node::OP_TYPE, op_type.as_bytes()),
            (node::DOMAIN, domain.as_bytes()),
        ]);
        for attribute in attributes {
            wire::put(&mut node, node::ATTRIBUTE, attribute);
        }
        node
    }

    fn model_of(nodes: &[Vec<u8>]) -> Vec<u8> {
        let output = message(&[(value_info::NAME, b"y"), (value_info::TYPE, b"")]);
        let mut graph = message(&[(graph::OUTPUT, &output), (graph::VALUE_INFO, &output)]);
        for node in nodes {
            wire::put(&mut graph, graph::NODE, node);
        }
        message(&[(99, b"nobody's"), (model::GRAPH, &graph)])
    }

    fn zipmap() -> Vec<u8> {
        let labels = text("classlabels_strings", attribute::STRINGS, b"a");
        one("ai.onnx.ml", "ZipMap", &[labels])
    }

    fn normalizer() -> Vec<u8> {
        one("", "StringNormalizer", &[text("case_change_action", attribute::S, b"LOWER")])
    }

    fn rewritten(model: &[u8]) -> Option<Rewritten> {
        rewrite(model, &|name| name == "C.UTF-8")
    }

    #[test]
    fn what_serves_as_it_is_and_what_is_broken_stay_as_they_are() {
        assert_eq!(rewritten(&model_of(&[one("", "Neg", &[])])), None);
        assert_eq!(rewrite(&model_of(&[normalizer()]), &|_| true), None);
        assert_eq!(rewrite(&model_of(&[normalizer()]), &|_| false), None);
        let unused = one("", "StringNormalizer", &[text("locale", attribute::S, b"xx")]);
        assert_eq!(rewritten(&model_of(&[unused])), None);
        assert_eq!(rewritten(b"garbage"), None);
        assert_eq!(rewritten(b""), None);
    }

    #[test]
    fn stop_words_need_a_locale_unless_case_counts() {
        let words = text("stopwords", attribute::STRINGS, b"the");
        let any_case = one("", "StringNormalizer", std::slice::from_ref(&words));
        assert!(rewritten(&model_of(&[any_case])).is_some());
        let mut sensitive = text("is_case_sensitive", 98, b"");
        wire::put_number(&mut sensitive, attribute::I, 1);
        let this_case = one("", "StringNormalizer", &[words, sensitive]);
        assert_eq!(rewritten(&model_of(&[this_case])), None);
    }

    #[test]
    fn a_zipmap_that_the_model_reads_itself_stays() {
        let other = message(&[(node::INPUT, b"y"), (node::OP_TYPE, b"SequenceLength")]);
        assert_eq!(rewritten(&model_of(&[zipmap(), other.clone()])), None);
        let branch = text("then_branch", attribute::G, &message(&[(graph::NODE, &other)]));
        assert_eq!(rewritten(&model_of(&[zipmap(), one("", "If", &[branch])])), None);
    }

    #[test]
    fn numbers_of_classes_are_read_one_by_one_and_packed() {
        let mut single = text("classlabels_int64s", 98, b"");
        wire::put_number(&mut single, attribute::INTS, 7);
        wire::put_number(&mut single, attribute::INTS, u64::MAX);
        let packed = [&[7][..], &[0xFF; 9], &[1]].concat();
        let packed = text("classlabels_int64s", attribute::INTS, &packed);
        for labels in [single, packed] {
            let changed = rewritten(&model_of(&[one("ai.onnx.ml", "ZipMap", &[labels])])).unwrap();
            assert_eq!(&*changed.zipmaps[0].json, "[7,-1]");
            assert_eq!(&*changed.zipmaps[0].labels[1], "-1");
        }
    }

    #[test]
    fn a_missing_default_locale_is_named_and_every_other_field_stays() {
        let changed = rewritten(&model_of(&[normalizer(), normalizer()])).unwrap();
        assert_eq!(changed.notes.len(), 1);
        assert!(changed.notes[0].contains("'en_US.UTF-8'"));
        let fields: Vec<_> = wire::fields(&changed.model).map(Result::unwrap).collect();
        assert_eq!(fields[0].bytes(), b"nobody's");
        let graph = fields[1].bytes();
        let node =
            wire::fields(graph).map(Result::unwrap).find(|field| field.number == graph::NODE);
        let node = Node::read(node.unwrap().bytes()).unwrap();
        assert_eq!(node.attribute(b"locale").text, b"C.UTF-8");
        assert_eq!(node.attribute(b"case_change_action").text, b"LOWER");
        assert_eq!(rewritten(&changed.model), None);
    }

    #[test]
    fn graphs_within_graphs_are_followed_no_deeper_than_protobuf_reads_them() {
        let nested = |levels: usize| {
            (0..levels).fold(normalizer(), |inner, _| {
                let graph = message(&[(graph::NODE, &inner)]);
                one("", "If", &[text("then_branch", attribute::G, &graph)])
            })
        };
        assert!(rewritten(&model_of(&[nested(20)])).is_some());
        assert_eq!(rewritten(&model_of(&[nested(5_000)])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            rewritten(&bytes);
        }

        #[test]
        fn no_change_of_a_model_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            end in any::<prop::sample::Index>(),
        ) {
            let branch = message(&[(graph::NODE, &normalizer())]);
            let branch = text("then_branch", attribute::G, &branch);
            let mut model = model_of(&[zipmap(), normalizer(), one("", "If", &[branch])]);
            for (at, byte) in changes {
                let at = at.index(model.len());
                model[at] = byte;
            }
            rewritten(&model);
            rewritten(&model[..end.index(model.len())]);
        }
    }
}
