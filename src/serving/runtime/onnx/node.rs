//! Nodes of a graph, as far as changing a model file looks at them.

use crate::serving::runtime::onnx::schema::{attribute, node};
use crate::serving::runtime::onnx::wire::{self, Broken, Value};

/// What of a `NodeProto` counts here. Texts are bytes: nobody has checked them.
#[derive(Clone, Debug, Default)]
pub struct Node<'a> {
    /// Names of what it reads.
    pub inputs: Vec<&'a [u8]>,
    /// Names of what it makes.
    pub outputs: Vec<&'a [u8]>,
    /// Its operator.
    pub op_type: &'a [u8],
    /// The operator's domain.
    pub domain: &'a [u8],
    /// Its settings.
    pub attributes: Vec<Attribute<'a>>,
}

/// What of an `AttributeProto` counts here.
#[derive(Clone, Debug, Default)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// An integer for a value.
    pub number: u64,
    /// A text for a value.
    pub text: &'a [u8],
    /// Texts for a value.
    pub texts: Vec<&'a [u8]>,
    /// Graphs for a value: branches, or the body of a loop.
    pub graphs: Vec<&'a [u8]>,
    /// All of it. The integers in it may be a forest's, so they are read only where they count.
    whole: &'a [u8],
}

impl<'a> Node<'a> {
    /// Reads a `NodeProto`.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut node = Self::default();
        for field in wire::fields(bytes) {
            let field = field?;
            match field.number {
                node::INPUT => node.inputs.push(field.bytes()),
                node::OUTPUT => node.outputs.push(field.bytes()),
                node::OP_TYPE => node.op_type = field.bytes(),
                node::DOMAIN => node.domain = field.bytes(),
                node::ATTRIBUTE => node.attributes.push(Attribute::read(field.bytes())?),
                _ => {}
            }
        }
        Ok(node)
    }

    /// Whether it makes a sequence of maps of a matrix.
    pub fn is_zipmap(&self) -> bool {
        self.op_type == b"ZipMap" && self.domain == b"ai.onnx.ml"
    }

    /// The attribute of that name, or an empty one.
    pub fn attribute(&self, name: &[u8]) -> &Attribute<'a> {
        const NONE: &Attribute<'static> = &Attribute {
            name: b"",
            number: 0,
            text: b"",
            texts: Vec::new(),
            graphs: Vec::new(),
            whole: b"",
        };
        self.attributes.iter().find(|attribute| attribute.name == name).unwrap_or(NONE)
    }
}

impl<'a> Attribute<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut attribute = Self { whole: bytes, ..Self::default() };
        for field in wire::fields(bytes) {
            let field = field?;
            match field.number {
                attribute::NAME => attribute.name = field.bytes(),
                attribute::I => attribute.number = field.number_value(),
                attribute::S => attribute.text = field.bytes(),
                attribute::STRINGS => attribute.texts.push(field.bytes()),
                attribute::G | attribute::GRAPHS => attribute.graphs.push(field.bytes()),
                _ => {}
            }
        }
        Ok(attribute)
    }

    /// Integers for a value.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn numbers(&self) -> Result<Vec<i64>, Broken> {
        let mut numbers = Vec::new();
        for field in wire::fields(self.whole) {
            let field = field?;
            match field.value {
                _ if field.number != attribute::INTS => {}
                // One by one, or packed; protobuf allows both for the same field.
                Value::Varint(number) => numbers.push(number.cast_signed()),
                Value::Bytes(packed) => {
                    let mut at = 0;
                    while at < packed.len() {
                        let (number, end) = wire::varint(packed, at).ok_or(Broken)?;
                        numbers.push(number.cast_signed());
                        at = end;
                    }
                }
                Value::Fixed => return Err(Broken),
            }
        }
        Ok(numbers)
    }
}
