//! Notes: what ONNX's syntax has no place for, in comments that begin with `#@`.

use std::io::{self, Write};

use prost::Message;

use super::lex::{Lexer, Result};
use super::parse::Parser;
use super::print::{Printer, odd_attribute_nans, print_hex, print_quoted};
use super::tensor::{odd_nans, print_entries, set_bits};
use super::{is_identifier, is_type_word};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::type_proto;
use crate::proto::*;

/// The notes of one node, graph, function or model while they are written.
struct Notes {
    text: Vec<u8>,
    indent: usize,
}

impl Notes {
    fn new(indent: usize) -> Notes {
        Notes { text: Vec::new(), indent }
    }

    /// A note: its path, then what `value` writes. Writing into memory does not fail.
    fn add(&mut self, path: &str, value: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let width = self.indent;
        let _ = write!(self.text, "{:width$}#@ {path}: ", "");
        let _ = value(&mut self.text);
        self.text.push(b'\n');
    }

    fn doc(&mut self, path: &str, doc: Option<&String>) {
        if let Some(doc) = doc.filter(|doc| !doc.is_empty()) {
            self.add(&format!("{path}doc_string"), |out| print_quoted(doc, true, out));
        }
    }

    fn metadata(&mut self, path: &str, entries: &[StringStringEntryProto]) {
        if !entries.is_empty() {
            self.add(&format!("{path}metadata_props"), |out| print_entries(entries, true, out));
        }
    }

    fn message(&mut self, path: &str, message: &impl Message) {
        self.add(path, |out| {
            out.push(b'x');
            print_hex(&message.encode_to_vec(), out)
        });
    }

    fn bits(&mut self, path: &str, bits: &[(u64, u64)]) {
        if bits.is_empty() {
            return;
        }
        let list: Vec<String> = bits.iter().map(|(index, bits)| format!("{index}: {bits}")).collect();
        self.add(&format!("{path}bits"), |out| write!(out, "[{}]", list.join(", ")));
    }

    fn value_info(&mut self, list: &str, index: usize, info: &ValueInfoProto) {
        let path = format!("{list} {index} ");
        self.doc(&path, info.doc_string.as_ref());
        self.metadata(&path, &info.metadata_props);
        let Some(r#type) = &info.r#type else { return };
        if denotes(r#type, false) {
            self.message(&format!("{path}type"), r#type);
            return;
        }
        if let Some(denotation) = &r#type.denotation {
            self.add(&format!("{path}denotation"), |out| print_quoted(denotation, true, out));
        }
        for (i, dim) in top_dims(r#type).iter().enumerate() {
            if let Some(denotation) = &dim.denotation {
                self.add(&format!("{path}dim {i} denotation"), |out| print_quoted(denotation, true, out));
            }
        }
    }

    fn tensor(&mut self, path: &str, tensor: &TensorProto) {
        self.doc(path, tensor.doc_string.as_ref());
        self.metadata(path, &tensor.metadata_props);
        self.bits(path, &odd_nans(tensor));
        if let Some(segment) = &tensor.segment {
            self.message(&format!("{path}segment"), segment);
        }
    }

    fn attribute(&mut self, path: &str, attribute: &AttributeProto) {
        self.doc(path, attribute.doc_string.as_ref());
        match &attribute.t {
            Some(tensor) if super::print::attribute_type(attribute) == AttributeType::Tensor => {
                if names_tensor(tensor) {
                    self.add(&format!("{path}t name"), |out| print_quoted(tensor.name(), true, out));
                }
                self.tensor(&format!("{path}t "), tensor);
            }
            _ => self.bits(path, &odd_attribute_nans(attribute)),
        }
        if let Some(r#type) = &attribute.tp
            && (r#type.denotation.is_some() || denotes(r#type, true))
        {
            self.message(&format!("{path}tp"), r#type);
        }
    }
}

fn top_dims(r#type: &TypeProto) -> &[tensor_shape_proto::Dimension] {
    let shape = match &r#type.value {
        Some(type_proto::Value::TensorType(tensor)) => &tensor.shape,
        Some(type_proto::Value::SparseTensorType(tensor)) => &tensor.shape,
        _ => &None,
    };
    shape.as_ref().map(|shape| &shape.dim[..]).unwrap_or_default()
}

/// Whether something inside of the type, or with `top` its own dims, has a denotation.
fn denotes(r#type: &TypeProto, top: bool) -> bool {
    if top && top_dims(r#type).iter().any(|dim| dim.denotation.is_some()) {
        return true;
    }
    let mut inner = inner_type(r#type);
    while let Some(r#type) = inner {
        if r#type.denotation.is_some() || top_dims(r#type).iter().any(|dim| dim.denotation.is_some()) {
            return true;
        }
        inner = inner_type(r#type);
    }
    false
}

fn inner_type(r#type: &TypeProto) -> Option<&TypeProto> {
    match &r#type.value {
        Some(type_proto::Value::SequenceType(sequence)) => sequence.elem_type.as_deref(),
        Some(type_proto::Value::OptionalType(optional)) => optional.elem_type.as_deref(),
        Some(type_proto::Value::MapType(map)) => map.value_type.as_deref(),
        _ => None,
    }
}

/// Whether the text of `tensor` does not carry all of it.
pub(super) fn has_notes(tensor: &TensorProto) -> bool {
    let mut notes = Notes::new(0);
    notes.tensor("", tensor);
    !notes.text.is_empty()
}

pub(super) fn print_model(printer: &mut Printer<'_>, model: &ModelProto) -> io::Result<()> {
    let mut notes = Notes::new(0);
    for training in &model.training_info {
        notes.message("training_info", training);
    }
    for configuration in &model.configuration {
        notes.message("configuration", configuration);
    }
    printer.out.write_all(&notes.text)
}

/// Whether a note gives the name of an attribute's tensor.
pub(super) fn names_tensor(tensor: &TensorProto) -> bool {
    !tensor.name().is_empty() && !is_identifier(tensor.name())
}

/// Whether a note gives the name of an attribute's graph, which ONNX's parser would take for something else.
pub(super) fn names_graph(graph: &GraphProto) -> bool {
    let name = graph.name();
    let is_number = ["inf", "infinity", "nan"].iter().any(|word| name.eq_ignore_ascii_case(word));
    !is_identifier(name) || is_type_word(name) || is_number
}

/// `renamed` says that the graph's text does not have its name.
pub(super) fn print_graph(printer: &mut Printer<'_>, graph: &GraphProto, renamed: bool) -> io::Result<()> {
    let mut notes = Notes::new(printer.indent);
    if renamed {
        notes.add("name", |out| print_quoted(graph.name(), true, out));
    }
    notes.doc("", graph.doc_string.as_ref());
    notes.metadata("", &graph.metadata_props);
    let lists = [("input", &graph.input), ("output", &graph.output), ("value_info", &graph.value_info)];
    for (list, infos) in lists {
        for (i, info) in infos.iter().enumerate() {
            notes.value_info(list, i, info);
        }
    }
    for (i, tensor) in graph.initializer.iter().enumerate() {
        notes.tensor(&format!("initializer {i} "), tensor);
    }
    for sparse in &graph.sparse_initializer {
        let halves = [&sparse.values, &sparse.indices].into_iter().flatten();
        let simple = halves.clone().all(|tensor| !tensor.name().contains(['\n', '\r']))
            && !halves.into_iter().any(|tensor| tensor.data_type() == tensor_proto::DataType::String as i32);
        if simple {
            notes.add("sparse_initializer", |out| Printer { out, ..*printer }.sparse(sparse));
        } else {
            notes.message("sparse_initializer", sparse);
        }
    }
    for annotation in &graph.quantization_annotation {
        notes.add("quantization_annotation", |out| {
            print_quoted(annotation.tensor_name(), true, out)?;
            out.push(b' ');
            print_entries(&annotation.quant_parameter_tensor_names, true, out)
        });
    }
    if notes.text.is_empty() {
        return Ok(());
    }
    if graph.initializer.is_empty() && graph.value_info.is_empty() {
        printer.raw("\n")?;
    }
    printer.out.write_all(&notes.text)
}

pub(super) fn print_node(printer: &mut Printer<'_>, node: &NodeProto) -> io::Result<()> {
    let mut notes = Notes::new(printer.indent);
    notes.doc("", node.doc_string.as_ref());
    notes.metadata("", &node.metadata_props);
    for (i, attribute) in node.attribute.iter().enumerate() {
        notes.attribute(&format!("attribute {i} "), attribute);
    }
    for configuration in &node.device_configurations {
        notes.message("device_configurations", configuration);
    }
    printer.out.write_all(&notes.text)
}

pub(super) fn print_function(printer: &mut Printer<'_>, function: &FunctionProto) -> io::Result<()> {
    let mut notes = Notes::new(printer.indent);
    notes.metadata("", &function.metadata_props);
    for (i, attribute) in function.attribute_proto.iter().enumerate() {
        notes.attribute(&format!("attribute {i} "), attribute);
    }
    for (i, info) in function.value_info.iter().enumerate() {
        notes.value_info("value_info", i, info);
    }
    printer.out.write_all(&notes.text)
}

/// The path of a note, step by step.
struct Path<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Path<'a> {
    /// The next word; after the last one comes the value.
    fn word(&mut self, wanted: &str) -> Result<&'a str> {
        match self.lexer.peek_word() {
            "" => self.lexer.fail(wanted),
            word => Ok(word),
        }
    }

    /// Passes the word, which selects from a list.
    fn select<'m, T>(&mut self, items: &'m mut [T]) -> Result<&'m mut T> {
        self.lexer.word();
        let start = self.lexer.start();
        let index = self.lexer.unsigned()?;
        let count = items.len();
        let item = usize::try_from(index).ok().and_then(|index| items.get_mut(index));
        item.ok_or_else(|| self.lexer.error_at(start, &format!("an index below {count}")))
    }

    /// Passes the last word and the colon.
    fn value(&mut self) -> Result<&mut Lexer<'a>> {
        self.lexer.word();
        self.lexer.expect(b':')?;
        Ok(&mut self.lexer)
    }

    fn doc(mut self, doc: &mut Option<String>) -> Result<()> {
        *doc = Some(self.value()?.string()?);
        self.end()
    }

    fn metadata(mut self, entries: &mut Vec<StringStringEntryProto>) -> Result<()> {
        entries.extend(super::parse::entries(self.value()?)?);
        self.end()
    }

    fn message<M: Message + Default>(mut self) -> Result<M> {
        let lexer = self.value()?;
        let start = lexer.start();
        let bytes = lexer.hex()?;
        let message = M::decode(&bytes[..]).map_err(|error| {
            lexer.error_at(start, &format!("an encoded message in hexadecimal ({error})"))
        })?;
        self.end()?;
        Ok(message)
    }

    fn end(mut self) -> Result<()> {
        if self.lexer.at_end() { Ok(()) } else { self.lexer.fail("the end of the note") }
    }

    /// The list of `bits`: each index and its bits go to `set`, which says whether there is such an element.
    fn bits(mut self, mut set: impl FnMut(u64, u64) -> bool) -> Result<()> {
        let lexer = self.value()?;
        lexer.expect(b'[')?;
        loop {
            let start = lexer.start();
            let index = lexer.unsigned()?;
            lexer.expect(b':')?;
            let bits = lexer.unsigned()?;
            if !set(index, bits) {
                return Err(lexer.error_at(start, "the index of a floating-point element"));
            }
            if !lexer.eat(b',') {
                break;
            }
        }
        lexer.expect(b']')?;
        self.end()
    }

    fn value_info(mut self, info: &mut ValueInfoProto) -> Result<()> {
        let wanted = "doc_string, metadata_props, denotation, dim or type";
        match self.word(wanted)? {
            "doc_string" => self.doc(&mut info.doc_string),
            "metadata_props" => self.metadata(&mut info.metadata_props),
            "denotation" => self.doc(&mut info.r#type.get_or_insert_default().denotation),
            "type" => {
                info.r#type = Some(self.message()?);
                Ok(())
            }
            "dim" => {
                let shape = match info.r#type.as_mut().and_then(|r#type| r#type.value.as_mut()) {
                    Some(type_proto::Value::TensorType(tensor)) => tensor.shape.as_mut(),
                    Some(type_proto::Value::SparseTensorType(tensor)) => tensor.shape.as_mut(),
                    _ => None,
                };
                let Some(shape) = shape else { return self.lexer.fail("a value that has dims") };
                let dim = self.select(&mut shape.dim)?;
                match self.word("denotation")? {
                    "denotation" => self.doc(&mut dim.denotation),
                    _ => self.lexer.fail("denotation"),
                }
            }
            _ => self.lexer.fail(wanted),
        }
    }

    fn tensor(mut self, tensor: &mut TensorProto) -> Result<()> {
        let wanted = "doc_string, metadata_props, bits, segment or name";
        match self.word(wanted)? {
            "name" => self.doc(&mut tensor.name),
            "doc_string" => self.doc(&mut tensor.doc_string),
            "metadata_props" => self.metadata(&mut tensor.metadata_props),
            "segment" => {
                tensor.segment = Some(self.message()?);
                Ok(())
            }
            "bits" => self.bits(|index, bits| set_bits(tensor, index, bits)),
            _ => self.lexer.fail(wanted),
        }
    }

    fn attribute(mut self, attribute: &mut AttributeProto) -> Result<()> {
        let wanted = "doc_string, bits, t or tp";
        match self.word(wanted)? {
            "doc_string" => self.doc(&mut attribute.doc_string),
            "tp" => {
                attribute.tp = Some(self.message()?);
                Ok(())
            }
            "t" => match &mut attribute.t {
                Some(tensor) => {
                    self.lexer.word();
                    self.tensor(tensor)
                }
                None => self.lexer.fail("a note for an attribute that holds a tensor"),
            },
            "bits" => self.bits(|index, bits| {
                let (Ok(index), Ok(bits)) = (usize::try_from(index), u32::try_from(bits)) else {
                    return false;
                };
                let place = match &mut attribute.f {
                    Some(value) if index == 0 => Some(value),
                    _ => attribute.floats.get_mut(index),
                };
                place.map(|place| *place = f32::from_bits(bits)).is_some()
            }),
            _ => self.lexer.fail(wanted),
        }
    }
}

pub(super) fn apply_to_model(notes: Vec<Lexer<'_>>, model: &mut ModelProto) -> Result<()> {
    for lexer in notes {
        let mut path = Path { lexer };
        let wanted = "training_info or configuration, for a note here is one of the model";
        match path.word(wanted)? {
            "training_info" => model.training_info.push(path.message()?),
            "configuration" => model.configuration.push(path.message()?),
            _ => return path.lexer.fail(wanted),
        }
    }
    Ok(())
}

pub(super) fn apply_to_graph(notes: Vec<Lexer<'_>>, graph: &mut GraphProto) -> Result<()> {
    for lexer in notes {
        let mut path = Path { lexer };
        let wanted = "name, doc_string, metadata_props, input, output, value_info, initializer, \
                      sparse_initializer or quantization_annotation, for a note here is one of the graph";
        match path.word(wanted)? {
            "name" => path.doc(&mut graph.name)?,
            "doc_string" => path.doc(&mut graph.doc_string)?,
            "metadata_props" => path.metadata(&mut graph.metadata_props)?,
            "input" => {
                let info = path.select(&mut graph.input)?;
                path.value_info(info)?;
            }
            "output" => {
                let info = path.select(&mut graph.output)?;
                path.value_info(info)?;
            }
            "value_info" => {
                let info = path.select(&mut graph.value_info)?;
                path.value_info(info)?;
            }
            "initializer" => {
                let tensor = path.select(&mut graph.initializer)?;
                path.tensor(tensor)?;
            }
            "sparse_initializer" => {
                let mut ahead = path.lexer.clone();
                ahead.word();
                ahead.expect(b':')?;
                if ahead.hex_is_next() {
                    graph.sparse_initializer.push(path.message()?);
                } else {
                    let mut parser = Parser::new(ahead);
                    graph.sparse_initializer.push(parser.sparse()?);
                    Path { lexer: parser.into_lexer() }.end()?;
                }
            }
            "quantization_annotation" => {
                let lexer = path.value()?;
                let tensor_name = Some(lexer.string()?);
                let quant_parameter_tensor_names = super::parse::entries(lexer)?;
                path.end()?;
                graph
                    .quantization_annotation
                    .push(TensorAnnotation { tensor_name, quant_parameter_tensor_names });
            }
            _ => return path.lexer.fail(wanted),
        }
    }
    Ok(())
}

pub(super) fn apply_to_node(notes: Vec<Lexer<'_>>, node: &mut NodeProto) -> Result<()> {
    for lexer in notes {
        let mut path = Path { lexer };
        let wanted = "doc_string, metadata_props, attribute or device_configurations, for a note here is \
                      one of the node below";
        match path.word(wanted)? {
            "doc_string" => path.doc(&mut node.doc_string)?,
            "metadata_props" => path.metadata(&mut node.metadata_props)?,
            "attribute" => {
                let attribute = path.select(&mut node.attribute)?;
                path.attribute(attribute)?;
            }
            "device_configurations" => node.device_configurations.push(path.message()?),
            _ => return path.lexer.fail(wanted),
        }
    }
    Ok(())
}

pub(super) fn apply_to_function(notes: Vec<Lexer<'_>>, function: &mut FunctionProto) -> Result<()> {
    for lexer in notes {
        let mut path = Path { lexer };
        let wanted = "metadata_props, attribute or value_info, for a note here is one of the function";
        match path.word(wanted)? {
            "metadata_props" => path.metadata(&mut function.metadata_props)?,
            "attribute" => {
                let attribute = path.select(&mut function.attribute_proto)?;
                path.attribute(attribute)?;
            }
            "value_info" => {
                let info = path.select(&mut function.value_info)?;
                path.value_info(info)?;
            }
            _ => return path.lexer.fail(wanted),
        }
    }
    Ok(())
}
