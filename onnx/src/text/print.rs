//! Messages as text.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use oxidane_tensor::DType;
use prost::Message;

use super::number::{odd_nan, print_f32};
use super::tensor::{odd_nans, print_entries, print_values};
use super::{is_identifier, is_type_word, note};
use crate::error::Error;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::tensor_shape_proto::dimension;
use crate::proto::type_proto;
use crate::proto::*;
use crate::save::Beside;
use crate::scan::DEPTH;

/// How text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextOptions {
    /// Tensors of more bytes than this are written in hexadecimal, which is shorter and faster, but which
    /// ONNX's own parser does not read. None, the default, writes every value as a number.
    pub hex_over: Option<usize>,
}

impl TextOptions {
    /// With tensors of more than `bytes` bytes in hexadecimal.
    pub fn hex_over(bytes: usize) -> TextOptions {
        TextOptions { hex_over: Some(bytes) }
    }
}

/// Writes `model` in ONNX's text syntax.
///
/// # Errors
/// Those of `out`; `InvalidInput` if the model nests more than 100 messages.
pub fn write_model(model: &ModelProto, out: &mut dyn Write, options: &TextOptions) -> io::Result<()> {
    Printer { out, options: *options, indent: 3 }.model(model)
}

/// Writes `model` in ONNX's text syntax to `path`, as [`crate::save`] does.
///
/// # Errors
/// [`Error::Write`].
pub fn save_text(model: &ModelProto, path: impl AsRef<Path>, options: &TextOptions) -> Result<(), Error> {
    let path = path.as_ref();
    let write = || {
        let mut out = BufWriter::with_capacity(1 << 16, Beside::create(path)?);
        write_model(model, &mut out, options)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    write().map_err(|source| Error::Write { path: path.into(), source })
}

fn to_string(print: impl FnOnce(&mut Printer<'_>) -> io::Result<()>) -> io::Result<String> {
    let mut text = Vec::new();
    print(&mut Printer { out: &mut text, options: TextOptions::default(), indent: 3 })?;
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// `model` as text.
///
/// # Errors
/// `InvalidInput` if it nests more than 100 messages.
pub fn print_model(model: &ModelProto) -> io::Result<String> {
    to_string(|printer| printer.model(model))
}

/// `graph` as text.
///
/// # Errors
/// Those of [`print_model`].
pub fn print_graph(graph: &GraphProto) -> io::Result<String> {
    to_string(|printer| printer.graph(graph, 1, false))
}

/// `node` as text, a line.
///
/// # Errors
/// Those of [`print_model`].
pub fn print_node(node: &NodeProto) -> io::Result<String> {
    to_string(|printer| printer.node(node, 1))
}

/// `function` as text.
///
/// # Errors
/// Those of [`print_model`].
pub fn print_function(function: &FunctionProto) -> io::Result<String> {
    to_string(|printer| printer.function(function))
}

/// `tensor` as text: `float[2] name = {1,2}`.
///
/// # Errors
/// None for a tensor in memory.
pub fn print_tensor(tensor: &TensorProto) -> io::Result<String> {
    to_string(|printer| printer.tensor(tensor, true, true))
}

/// `r#type` as text: `float[N,3]`, `seq(int64[])`.
///
/// # Errors
/// Those of [`print_model`].
pub fn print_type(r#type: &TypeProto) -> io::Result<String> {
    to_string(|printer| printer.r#type(r#type, 1))
}

/// Writes `text` in quotes. In a note, which is a line, line breaks are escaped.
pub(super) fn print_quoted(text: &str, in_note: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\n' if in_note => quoted.push_str("\\n"),
            '\r' if in_note => quoted.push_str("\\r"),
            '"' | '\\' => quoted.extend(['\\', c]),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    out.write_all(quoted.as_bytes())
}

/// Writes bytes as `"text"` if they are, otherwise as `x"00ff"`.
pub(super) fn print_string_bytes(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => print_quoted(text, false, out),
        Err(_) => {
            out.write_all(b"x")?;
            print_hex(bytes, out)
        }
    }
}

/// Writes bytes in hexadecimal, in quotes.
pub(super) fn print_hex(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.write_all(b"\"")?;
    let mut text = Vec::with_capacity(8192);
    for chunk in bytes.chunks(4096) {
        text.clear();
        for &byte in chunk {
            text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        out.write_all(&text)?;
    }
    out.write_all(b"\"")
}

/// The kind of an attribute: as it says, or of old files, which do not say, by the field in use.
pub(super) fn attribute_type(attribute: &AttributeProto) -> AttributeType {
    let says = attribute.r#type();
    if says != AttributeType::Undefined {
        return says;
    }
    let AttributeProto { f, i, s, t, g, tp, sparse_tensor, floats, ints, strings, tensors, graphs, .. } =
        attribute;
    match () {
        () if f.is_some() => AttributeType::Float,
        () if i.is_some() => AttributeType::Int,
        () if s.is_some() => AttributeType::String,
        () if t.is_some() => AttributeType::Tensor,
        () if g.is_some() => AttributeType::Graph,
        () if tp.is_some() => AttributeType::TypeProto,
        () if sparse_tensor.is_some() => AttributeType::SparseTensor,
        () if !floats.is_empty() => AttributeType::Floats,
        () if !ints.is_empty() => AttributeType::Ints,
        () if !strings.is_empty() => AttributeType::Strings,
        () if !tensors.is_empty() => AttributeType::Tensors,
        () if !graphs.is_empty() => AttributeType::Graphs,
        () if !attribute.type_protos.is_empty() => AttributeType::TypeProtos,
        () if !attribute.sparse_tensors.is_empty() => AttributeType::SparseTensors,
        () => AttributeType::Undefined,
    }
}

/// The names of attribute types in text.
pub(super) const ATTRIBUTE_TYPES: [(AttributeType, &str); 14] = [
    (AttributeType::Float, "float"),
    (AttributeType::Int, "int"),
    (AttributeType::String, "string"),
    (AttributeType::Tensor, "tensor"),
    (AttributeType::Graph, "graph"),
    (AttributeType::SparseTensor, "sparse_tensor"),
    (AttributeType::TypeProto, "type_proto"),
    (AttributeType::Floats, "floats"),
    (AttributeType::Ints, "ints"),
    (AttributeType::Strings, "strings"),
    (AttributeType::Tensors, "tensors"),
    (AttributeType::Graphs, "graphs"),
    (AttributeType::SparseTensors, "sparse_tensors"),
    (AttributeType::TypeProtos, "type_protos"),
];

pub(super) struct Printer<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) options: TextOptions,
    pub(super) indent: usize,
}

impl Printer<'_> {
    pub(super) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    fn name(&mut self, name: &str) -> io::Result<()> {
        if is_identifier(name) { self.raw(name) } else { print_quoted(name, false, self.out) }
    }

    /// A name where a type could stand too.
    fn untyped_name(&mut self, name: &str) -> io::Result<()> {
        if is_type_word(name) { print_quoted(name, false, self.out) } else { self.name(name) }
    }

    fn list<T>(
        &mut self,
        [open, separator, close]: [&str; 3],
        items: &[T],
        mut print: impl FnMut(&mut Self, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.raw(open)?;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.raw(separator)?;
            }
            print(self, item)?;
        }
        self.raw(close)
    }

    fn names(&mut self, marks: [&str; 3], names: &[String]) -> io::Result<()> {
        self.list(marks, names, |printer, name| printer.name(name))
    }

    fn element_type(&mut self, code: i32) -> io::Result<()> {
        match DType::from_onnx(code) {
            Some(dtype) => self.raw(dtype.name()),
            None => write!(self.out, "?{code}"),
        }
    }

    fn shape(&mut self, shape: Option<&TensorShapeProto>) -> io::Result<()> {
        match shape {
            None => self.raw("[]"),
            Some(shape) if shape.dim.is_empty() => Ok(()),
            Some(shape) => self.list(["[", ",", "]"], &shape.dim, |printer, dim| match &dim.value {
                None => printer.raw("?"),
                Some(dimension::Value::DimValue(value)) => write!(printer.out, "{value}"),
                Some(dimension::Value::DimParam(name)) => printer.name(name),
            }),
        }
    }

    pub(super) fn r#type(&mut self, r#type: &TypeProto, depth: usize) -> io::Result<()> {
        deeper(depth)?;
        let inner = |printer: &mut Self, r#type: &Option<Box<TypeProto>>| match r#type {
            Some(r#type) => printer.r#type(r#type, depth + 2),
            None => Ok(()),
        };
        match &r#type.value {
            None => Ok(()),
            Some(type_proto::Value::TensorType(tensor)) => {
                self.element_type(tensor.elem_type())?;
                self.shape(tensor.shape.as_ref())
            }
            Some(type_proto::Value::SparseTensorType(tensor)) => {
                self.raw("sparse_tensor(")?;
                self.element_type(tensor.elem_type())?;
                self.shape(tensor.shape.as_ref())?;
                self.raw(")")
            }
            Some(type_proto::Value::SequenceType(sequence)) => {
                self.raw("seq(")?;
                inner(self, &sequence.elem_type)?;
                self.raw(")")
            }
            Some(type_proto::Value::OptionalType(optional)) => {
                self.raw("optional(")?;
                inner(self, &optional.elem_type)?;
                self.raw(")")
            }
            Some(type_proto::Value::MapType(map)) => {
                self.raw("map(")?;
                self.element_type(map.key_type())?;
                self.raw(", ")?;
                inner(self, &map.value_type)?;
                self.raw(")")
            }
            Some(type_proto::Value::OpaqueType(opaque)) => {
                self.raw("opaque(")?;
                if !opaque.domain().is_empty() {
                    self.dotted(opaque.domain())?;
                    self.raw(",")?;
                    self.name(opaque.name())?;
                } else if !opaque.name().is_empty() {
                    self.dotted(opaque.name())?;
                }
                self.raw(")")
            }
        }
    }

    /// Names with points between them, in quotes if they are something else.
    fn dotted(&mut self, name: &str) -> io::Result<()> {
        if name.split('.').all(is_identifier) { self.raw(name) } else { print_quoted(name, false, self.out) }
    }

    /// A tensor's type and name.
    fn tensor_head(&mut self, tensor: &TensorProto, named: bool) -> io::Result<()> {
        self.element_type(tensor.data_type())?;
        if !tensor.dims.is_empty() {
            self.list(["[", ",", "]"], &tensor.dims, |printer, dim| write!(printer.out, "{dim}"))?;
        }
        if named || !tensor.name().is_empty() {
            self.raw(" ")?;
            self.name(tensor.name())?;
        }
        Ok(())
    }

    /// A tensor. `assigned` puts a `=` before its values; `named` prints a missing name too.
    pub(super) fn tensor(&mut self, tensor: &TensorProto, assigned: bool, named: bool) -> io::Result<()> {
        self.tensor_head(tensor, named)?;
        let external = tensor.data_location() == DataLocation::External;
        if assigned || external {
            self.raw(" = ")?;
        }
        if external {
            print_entries(&tensor.external_data, false, self.out)
        } else {
            print_values(tensor, self.options.hex_over, self.out)
        }
    }

    /// A tensor of which no note can say what its text does not carry.
    fn whole_tensor(&mut self, tensor: &TensorProto) -> io::Result<()> {
        if !note::has_notes(tensor) {
            return self.tensor(tensor, false, false);
        }
        self.tensor_head(tensor, false)?;
        self.raw(" m")?;
        print_hex(&TensorProto { name: None, ..tensor.clone() }.encode_to_vec(), self.out)
    }

    pub(super) fn sparse(&mut self, sparse: &SparseTensorProto) -> io::Result<()> {
        self.list(["sparse([", ",", "]"], &sparse.dims, |printer, dim| write!(printer.out, "{dim}"))?;
        for half in [&sparse.values, &sparse.indices] {
            self.raw(", ")?;
            match half {
                Some(tensor) => self.whole_tensor(tensor)?,
                None => self.raw("?")?,
            }
        }
        self.raw(")")
    }

    fn value_info(&mut self, info: &ValueInfoProto) -> io::Result<()> {
        match &info.r#type {
            Some(r#type) if r#type.value.is_some() => {
                self.r#type(r#type, 1)?;
                self.raw(" ")?;
                self.name(info.name())
            }
            _ => {
                self.raw(" ")?;
                self.untyped_name(info.name())
            }
        }
    }

    fn attribute(&mut self, attribute: &AttributeProto, depth: usize) -> io::Result<()> {
        deeper(depth)?;
        let kind = attribute_type(attribute);
        self.name(attribute.name())?;
        let word = ATTRIBUTE_TYPES.iter().find(|(known, _)| *known == kind).map(|(_, word)| word);
        if let Some(word) = word {
            self.raw(": ")?;
            self.raw(word)?;
        }
        self.raw(" = ")?;
        if !attribute.ref_attr_name().is_empty() {
            self.raw("@")?;
            return self.name(attribute.ref_attr_name());
        }
        let marks = ["[", ", ", "]"];
        match kind {
            AttributeType::Undefined => self.raw("?"),
            AttributeType::Int => write!(self.out, "{}", attribute.i()),
            AttributeType::Ints => {
                self.list(marks, &attribute.ints, |printer, value| write!(printer.out, "{value}"))
            }
            AttributeType::Float => self.float(attribute.f()),
            AttributeType::Floats => {
                self.list(marks, &attribute.floats, |printer, &value| printer.float(value))
            }
            AttributeType::String => print_string_bytes(attribute.s(), self.out),
            AttributeType::Strings => {
                self.list(marks, &attribute.strings, |printer, value| print_string_bytes(value, printer.out))
            }
            AttributeType::Tensor => match &attribute.t {
                // ONNX's parser wants no quotes here; a note has the name.
                Some(tensor) if note::names_tensor(tensor) => {
                    let unnamed = TensorProto { name: None, ..tensor.clone() };
                    self.tensor(&unnamed, false, false)
                }
                Some(tensor) => self.tensor(tensor, false, false),
                None => self.raw("?"),
            },
            AttributeType::Tensors => self.list(marks, &attribute.tensors, Self::whole_tensor),
            AttributeType::Graph => match &attribute.g {
                Some(graph) => self.subgraph(graph, depth),
                None => self.raw("?"),
            },
            AttributeType::Graphs => {
                self.list(marks, &attribute.graphs, |printer, graph| printer.subgraph(graph, depth))
            }
            AttributeType::SparseTensor => match &attribute.sparse_tensor {
                Some(sparse) => self.sparse(sparse),
                None => self.raw("?"),
            },
            AttributeType::SparseTensors => {
                self.list(marks, &attribute.sparse_tensors, |printer, sparse| printer.sparse(sparse))
            }
            AttributeType::TypeProto => match &attribute.tp {
                Some(r#type) if r#type.value.is_some() => self.r#type(r#type, depth + 1),
                _ => self.raw("?"),
            },
            AttributeType::TypeProtos => self.list(marks, &attribute.type_protos, |printer, r#type| {
                if r#type.value.is_some() { printer.r#type(r#type, depth + 1) } else { printer.raw("?") }
            }),
        }
    }

    fn float(&mut self, value: f32) -> io::Result<()> {
        let mut text = Vec::with_capacity(24);
        print_f32(value, &mut text);
        self.out.write_all(&text)
    }

    fn subgraph(&mut self, graph: &GraphProto, depth: usize) -> io::Result<()> {
        self.indent += 3;
        let done = self.graph(graph, depth + 1, true);
        self.indent -= 3;
        done
    }

    pub(super) fn pad(&mut self, width: usize) -> io::Result<()> {
        write!(self.out, "{:width$}", "")
    }

    fn node(&mut self, node: &NodeProto, depth: usize) -> io::Result<()> {
        deeper(depth)?;
        note::print_node(self, node)?;
        self.pad(self.indent)?;
        if let Some(name) = &node.name {
            self.raw("[")?;
            self.name(name)?;
            self.raw("] ")?;
        }
        self.names(["", ", ", ""], &node.output)?;
        self.raw(" = ")?;
        if !node.domain().is_empty() {
            self.dotted(node.domain())?;
            self.raw(".")?;
        }
        // ONNX's parser reads a missing operator.
        if !(node.op_type().is_empty() && node.domain().is_empty()) {
            self.name(node.op_type())?;
        }
        if !node.overload().is_empty() {
            self.raw(":")?;
            self.name(node.overload())?;
        }
        let holds_graphs = node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
        if !holds_graphs {
            self.attributes(&node.attribute, depth)?;
        }
        self.names([" (", ", ", ")"], &node.input)?;
        if holds_graphs {
            self.attributes(&node.attribute, depth)?;
        }
        self.raw("\n")
    }

    fn attributes(&mut self, attributes: &[AttributeProto], depth: usize) -> io::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        self.list([" <", ", ", ">"], attributes, |printer, attribute| printer.attribute(attribute, depth + 1))
    }

    fn nodes(&mut self, nodes: &[NodeProto], depth: usize) -> io::Result<()> {
        self.raw("{\n")?;
        for node in nodes {
            self.node(node, depth + 1)?;
        }
        self.pad(self.indent - 3)?;
        self.raw("}")
    }

    /// A graph. `inner` says that it is an attribute's, where ONNX's parser wants a name without quotes; a
    /// note has any other.
    fn graph(&mut self, graph: &GraphProto, depth: usize, inner: bool) -> io::Result<()> {
        deeper(depth)?;
        let renamed = inner && note::names_graph(graph);
        if renamed {
            self.raw("_")?
        } else {
            self.name(graph.name())?
        }
        self.list([" (", ", ", ")"], &graph.input, Self::value_info)?;
        self.list([" => (", ", ", ") "], &graph.output, Self::value_info)?;
        if !graph.initializer.is_empty() || !graph.value_info.is_empty() {
            self.raw("\n")?;
            self.pad(self.indent)?;
            self.list(["<", ", ", ""], &graph.initializer, |printer, tensor| {
                printer.tensor(tensor, true, true)
            })?;
            let between = if graph.initializer.is_empty() || graph.value_info.is_empty() { "" } else { ", " };
            self.list([between, ", ", ">\n"], &graph.value_info, Self::value_info)?;
        }
        note::print_graph(self, graph, renamed)?;
        self.nodes(&graph.node, depth)
    }

    fn opsets(&mut self, marks: [&str; 3], opsets: &[OperatorSetIdProto]) -> io::Result<()> {
        self.list(marks, opsets, |printer, opset| {
            print_quoted(opset.domain(), false, printer.out)?;
            write!(printer.out, " : {}", opset.version())
        })
    }

    fn function(&mut self, function: &FunctionProto) -> io::Result<()> {
        self.raw("<\n  domain: ")?;
        print_quoted(function.domain(), false, self.out)?;
        if !function.overload().is_empty() {
            self.raw(",\n  overload: ")?;
            print_quoted(function.overload(), false, self.out)?;
        }
        if let Some(doc) = &function.doc_string {
            self.raw(",\n  doc_string: ")?;
            print_quoted(doc, false, self.out)?;
        }
        self.raw(",\n  opset_import: ")?;
        self.opsets(["[", ",", "]"], &function.opset_import)?;
        self.raw("\n>\n")?;
        self.name(function.name())?;
        self.raw(" ")?;
        if !function.attribute.is_empty() || !function.attribute_proto.is_empty() {
            self.names(["<", ",", ""], &function.attribute)?;
            let between =
                if function.attribute.is_empty() || function.attribute_proto.is_empty() { "" } else { "," };
            self.list([between, ",", ">"], &function.attribute_proto, |printer, attribute| {
                printer.attribute(attribute, 2)
            })?;
        }
        self.list(["(", ", ", ") => "], &function.input, |printer, name| printer.untyped_name(name))?;
        self.list(["(", ", ", ")\n"], &function.output, |printer, name| printer.untyped_name(name))?;
        if !function.value_info.is_empty() {
            self.list(["   <", ", ", ">\n"], &function.value_info, Self::value_info)?;
        }
        note::print_function(self, function)?;
        self.nodes(&function.node, 1)
    }

    fn model(&mut self, model: &ModelProto) -> io::Result<()> {
        write!(self.out, "<\n   ir_version: {}", model.ir_version())?;
        self.raw(",\n   opset_import: ")?;
        self.opsets(["[", ", ", "]"], &model.opset_import)?;
        let texts = [
            ("producer_name", &model.producer_name),
            ("producer_version", &model.producer_version),
            ("domain", &model.domain),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                write!(self.out, ",\n   {key}: ")?;
                print_quoted(value, false, self.out)?;
            }
        }
        if let Some(version) = model.model_version {
            write!(self.out, ",\n   model_version: {version}")?;
        }
        if let Some(doc) = &model.doc_string {
            self.raw(",\n   doc_string: ")?;
            print_quoted(doc, false, self.out)?;
        }
        if !model.metadata_props.is_empty() {
            self.raw(",\n   metadata_props: ")?;
            print_entries(&model.metadata_props, false, self.out)?;
        }
        self.raw("\n>\n")?;
        note::print_model(self, model)?;
        match &model.graph {
            Some(graph) => self.graph(graph, 1, false)?,
            None => self.graph(&GraphProto::default(), 1, false)?,
        }
        for function in &model.functions {
            self.raw("\n")?;
            self.function(function)?;
        }
        Ok(())
    }
}

fn deeper(depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        let what = format!("the model nests more than {DEPTH} messages");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(())
}

/// The NaNs of an attribute's numbers whose bits its text does not carry: index and bits.
pub(super) fn odd_attribute_nans(attribute: &AttributeProto) -> Vec<(u64, u64)> {
    let odd = |values: &[f32]| {
        let values = values.iter().enumerate();
        values.filter(|(_, v)| odd_nan(**v)).map(|(i, v)| (i as u64, v.to_bits().into())).collect()
    };
    if !attribute.ref_attr_name().is_empty() {
        return Vec::new();
    }
    match attribute_type(attribute) {
        AttributeType::Float => odd(&[attribute.f()]),
        AttributeType::Floats => odd(&attribute.floats),
        AttributeType::Tensor => attribute.t.as_ref().map(odd_nans).unwrap_or_default(),
        _ => Vec::new(),
    }
}
