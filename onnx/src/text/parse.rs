//! Text to messages.

use oxidane_tensor::DType;

use super::lex::{Lexer, Literal, Result};
use super::print::ATTRIBUTE_TYPES;
use super::tensor::{parse_string_bytes, parse_values};
use super::{TextError, is_type_word, note};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto;
use crate::proto::*;
use crate::scan::DEPTH;

fn whole<'a, T>(text: &'a str, parse: impl FnOnce(&mut Parser<'a>) -> Result<T>) -> Result<T> {
    let mut parser = Parser::new(Lexer::new(text));
    let value = parse(&mut parser)?;
    if !parser.lexer.at_end() {
        return parser.lexer.fail("the end of the text");
    }
    parser.lexer.no_notes(STRAY)?;
    Ok(value)
}

const STRAY: &str = "a node, or the `{` of a graph or function, after this note";

/// Reads a model.
///
/// # Errors
/// The first error, with its line and column; also for text that nests more deeply than a protobuf file
/// may, about 33 graphs inside each other.
pub fn parse_model(text: &str) -> std::result::Result<ModelProto, TextError> {
    whole(text, Parser::model)
}

/// Reads a graph: `g (float[N] x) => (float[N] y) { y = Relu(x) }`.
///
/// # Errors
/// Those of [`parse_model`].
pub fn parse_graph(text: &str) -> std::result::Result<GraphProto, TextError> {
    whole(text, |parser| parser.graph(1))
}

/// Reads a function.
///
/// # Errors
/// Those of [`parse_model`].
pub fn parse_function(text: &str) -> std::result::Result<FunctionProto, TextError> {
    whole(text, Parser::function)
}

/// Reads a node: `y = Conv <group: int = 2> (x, w)`.
///
/// # Errors
/// Those of [`parse_model`].
pub fn parse_node(text: &str) -> std::result::Result<NodeProto, TextError> {
    whole(text, |parser| parser.node(1))
}

/// Reads a tensor: `float[2] name = {1,2}`.
///
/// # Errors
/// Those of [`parse_model`].
pub fn parse_tensor(text: &str) -> std::result::Result<TensorProto, TextError> {
    whole(text, Parser::tensor)
}

/// Reads a type: `float[N,3]`, `seq(int64[])`.
///
/// # Errors
/// Those of [`parse_model`].
pub fn parse_type(text: &str) -> std::result::Result<TypeProto, TextError> {
    whole(text, |parser| parser.r#type(1))
}

/// Reads `["key": "value", ...]`.
pub(super) fn entries(lexer: &mut Lexer<'_>) -> Result<Vec<StringStringEntryProto>> {
    lexer.expect(b'[')?;
    let mut entries = Vec::new();
    if lexer.eat(b']') {
        return Ok(entries);
    }
    loop {
        let key = Some(lexer.string()?);
        lexer.expect(b':')?;
        entries.push(StringStringEntryProto { key, value: Some(lexer.string()?) });
        if !lexer.eat(b',') {
            break;
        }
    }
    lexer.expect(b']')?;
    Ok(entries)
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(lexer: Lexer<'a>) -> Self {
        Parser { lexer }
    }

    pub(super) fn into_lexer(self) -> Lexer<'a> {
        self.lexer
    }

    /// Fails where messages would nest too deeply.
    fn deeper(&self, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return self.lexer.fail(&format!(
                "no more nesting: a model may nest {DEPTH} messages, which is about {} graphs or {} types",
                DEPTH / 3,
                DEPTH / 2
            ));
        }
        Ok(())
    }

    /// Items between `open` and `close`, with commas between them.
    fn list<T>(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.lexer.expect(open)?;
        let mut items = Vec::new();
        if self.lexer.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.lexer.eat(b',') {
                break;
            }
        }
        self.lexer.expect(close)?;
        Ok(items)
    }

    fn type_is_next(&mut self) -> bool {
        self.lexer.peek() == Some(b'?') || is_type_word(self.lexer.peek_word())
    }

    /// An element type if one is next.
    fn element_type(&mut self) -> Result<Option<i32>> {
        if self.lexer.eat(b'?') {
            let start = self.lexer.start();
            let code = i32::try_from(self.lexer.int()?);
            return code.map(Some).map_err(|_| self.lexer.error_at(start, "the number of an element type"));
        }
        let code = DType::from_name(self.lexer.peek_word()).map(DType::to_onnx);
        if code.is_some() {
            self.lexer.word();
        }
        Ok(code)
    }

    fn shape(&mut self) -> Result<Option<TensorShapeProto>> {
        if self.lexer.peek() != Some(b'[') {
            return Ok(Some(TensorShapeProto::default()));
        }
        let dim = self.list(b'[', b']', |parser| {
            let lexer = &mut parser.lexer;
            let value = match lexer.peek() {
                Some(b'?') => {
                    lexer.eat(b'?');
                    None
                }
                Some(b'-' | b'0'..=b'9') => Some(dimension::Value::DimValue(lexer.int()?)),
                _ => Some(dimension::Value::DimParam(lexer.name("a dimension: a number, a name or `?`")?)),
            };
            Ok(Dimension { value, denotation: None })
        })?;
        Ok(if dim.is_empty() { None } else { Some(TensorShapeProto { dim }) })
    }

    fn r#type(&mut self, depth: usize) -> Result<TypeProto> {
        self.deeper(depth)?;
        if let Some(code) = self.element_type()? {
            let shape = self.shape()?;
            let tensor = type_proto::Tensor { elem_type: Some(code), shape };
            return Ok(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None });
        }
        let word = self.lexer.peek_word();
        if !is_type_word(word) {
            return self.lexer.fail(
                "a type: an element type such as float or int64, or seq, map, optional, sparse_tensor, opaque",
            );
        }
        self.lexer.word();
        self.lexer.expect(b'(')?;
        let value = match word {
            "seq" => type_proto::Value::SequenceType(Box::new(type_proto::Sequence {
                elem_type: self.inner_type(depth)?,
            })),
            "optional" => type_proto::Value::OptionalType(Box::new(type_proto::Optional {
                elem_type: self.inner_type(depth)?,
            })),
            "map" => {
                let Some(key) = self.element_type()? else {
                    return self.lexer.fail("the element type of a map's keys");
                };
                self.lexer.expect(b',')?;
                type_proto::Value::MapType(Box::new(type_proto::Map {
                    key_type: Some(key),
                    value_type: self.inner_type(depth)?,
                }))
            }
            "sparse_tensor" => {
                let Some(code) = self.element_type()? else { return self.lexer.fail("an element type") };
                let shape = self.shape()?;
                type_proto::Value::SparseTensorType(type_proto::SparseTensor { elem_type: Some(code), shape })
            }
            _ => {
                let mut opaque = type_proto::Opaque::default();
                if self.lexer.peek() != Some(b')') {
                    let first = self.dotted("a name")?.join(".");
                    if self.lexer.eat(b',') {
                        opaque.domain = Some(first);
                        opaque.name = Some(self.lexer.name("a name")?);
                    } else {
                        opaque.name = Some(first);
                    }
                }
                type_proto::Value::OpaqueType(opaque)
            }
        };
        self.lexer.expect(b')')?;
        Ok(TypeProto { value: Some(value), denotation: None })
    }

    fn inner_type(&mut self, depth: usize) -> Result<Option<Box<TypeProto>>> {
        if self.lexer.peek() == Some(b')') {
            return Ok(None);
        }
        Ok(Some(Box::new(self.r#type(depth + 2)?)))
    }

    /// Names with points between them.
    fn dotted(&mut self, what: &str) -> Result<Vec<String>> {
        let mut names = vec![self.lexer.name(what)?];
        while self.lexer.eat(b'.') {
            names.push(self.lexer.name(what)?);
        }
        Ok(names)
    }

    fn value_info(&mut self) -> Result<ValueInfoProto> {
        let r#type = if self.type_is_next() { Some(self.r#type(1)?) } else { None };
        let name = Some(self.lexer.name("the name of a value")?);
        Ok(ValueInfoProto { name, r#type, ..ValueInfoProto::default() })
    }

    /// A tensor of the type that was read, whose name is set, up to its values.
    fn tensor_of(&mut self, r#type: Option<&TypeProto>, start: usize, name: String) -> Result<TensorProto> {
        let wanted = "a tensor type with numbers for its dims";
        let Some(type_proto::Value::TensorType(of)) = r#type.and_then(|r#type| r#type.value.as_ref()) else {
            return Err(self.lexer.error_at(start, wanted));
        };
        let Some(shape) = &of.shape else { return Err(self.lexer.error_at(start, wanted)) };
        let mut dims = Vec::with_capacity(shape.dim.len());
        for dim in &shape.dim {
            match &dim.value {
                Some(dimension::Value::DimValue(value)) => dims.push(*value),
                _ => return Err(self.lexer.error_at(start, wanted)),
            }
        }
        let mut tensor =
            TensorProto { dims, data_type: of.elem_type, name: filled(name), ..TensorProto::default() };
        if self.lexer.peek() == Some(b'[') {
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = entries(&mut self.lexer)?;
        } else {
            parse_values(&mut self.lexer, &mut tensor)?;
        }
        Ok(tensor)
    }

    /// A whole tensor, named or not, with or without `=`.
    fn tensor(&mut self) -> Result<TensorProto> {
        let start = self.lexer.start();
        let r#type = self.r#type(1)?;
        self.tensor_after_type(&r#type, start)
    }

    fn tensor_after_type(&mut self, r#type: &TypeProto, start: usize) -> Result<TensorProto> {
        let mut name = String::new();
        if !self.lexer.hex_is_next() && !self.message_is_next() {
            if self.lexer.peek() == Some(b'"') {
                name = self.lexer.string()?;
            } else {
                name = self.lexer.word().to_owned();
            }
        }
        self.lexer.eat(b'=');
        self.tensor_of(Some(r#type), start, name)
    }

    fn message_is_next(&mut self) -> bool {
        let mut ahead = self.lexer.clone();
        ahead.word() == "m" && ahead.hex_string().is_ok()
    }

    /// `sparse([dims], values, indices)`.
    pub(super) fn sparse(&mut self) -> Result<SparseTensorProto> {
        if self.lexer.peek_word() != "sparse" {
            return self.lexer.fail("sparse([dims], values, indices)");
        }
        self.lexer.word();
        self.lexer.expect(b'(')?;
        let dims = self.list(b'[', b']', |parser| parser.lexer.int())?;
        let mut halves = [None, None];
        for half in &mut halves {
            self.lexer.expect(b',')?;
            if self.none_is_next() {
                self.lexer.eat(b'?');
            } else {
                *half = Some(self.tensor()?);
            }
        }
        self.lexer.expect(b')')?;
        let [values, indices] = halves;
        Ok(SparseTensorProto { values, indices, dims })
    }

    /// Whether a `?` comes that stands for nothing.
    fn none_is_next(&mut self) -> bool {
        let mut ahead = self.lexer.clone();
        ahead.eat(b'?') && !ahead.peek().is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
    }

    /// An attribute's value into `attribute`, whose name and annotated type are set. `of` is the type of one
    /// value.
    fn attribute_value(
        &mut self,
        attribute: &mut AttributeProto,
        of: Option<AttributeType>,
        depth: usize,
    ) -> Result<AttributeType> {
        let start = self.lexer.start();
        let kind = match of {
            Some(AttributeType::Graph) => {
                attribute.g = Some(self.graph(depth + 1)?);
                AttributeType::Graph
            }
            Some(AttributeType::Tensor) => {
                attribute.t = Some(self.tensor()?);
                AttributeType::Tensor
            }
            Some(AttributeType::TypeProto) => {
                attribute.tp = Some(self.r#type(depth + 1)?);
                AttributeType::TypeProto
            }
            Some(AttributeType::SparseTensor) => {
                attribute.sparse_tensor = Some(self.sparse()?);
                AttributeType::SparseTensor
            }
            _ if self.lexer.hex_is_next() => {
                attribute.s = Some(parse_string_bytes(&mut self.lexer)?);
                AttributeType::String
            }
            _ if self.type_is_next() => {
                let r#type = self.r#type(depth + 1)?;
                let next = self.lexer.peek();
                if matches!(next, Some(b'{' | b'=' | b'"')) || !self.lexer.peek_word().is_empty() {
                    attribute.t = Some(self.tensor_after_type(&r#type, start)?);
                    AttributeType::Tensor
                } else {
                    attribute.tp = Some(r#type);
                    AttributeType::TypeProto
                }
            }
            _ if !self.lexer.peek_word().is_empty() && !self.lexer.float_word_is_next() => {
                attribute.g = Some(self.graph(depth + 1)?);
                AttributeType::Graph
            }
            _ => match self.lexer.literal("a value: a number, a string, a tensor, a type or a graph")? {
                Literal::Text(text) => {
                    attribute.s = Some(text.into());
                    AttributeType::String
                }
                Literal::Int(text) if of != Some(AttributeType::Float) => {
                    let value = text.parse();
                    attribute.i = Some(
                        value.map_err(|_| self.lexer.error_at(start, "a whole number that fits 64 bits"))?,
                    );
                    AttributeType::Int
                }
                Literal::Int(text) | Literal::Float(text) => {
                    let value = super::number::parse_f32(text);
                    attribute.f = Some(value.ok_or_else(|| {
                        self.lexer.error_at(start, "a number that fits 32-bit floating point")
                    })?);
                    AttributeType::Float
                }
            },
        };
        match of {
            Some(of) if of != kind => {
                let name = |kind| ATTRIBUTE_TYPES.iter().find(|(k, _)| *k == kind).map_or("", |(_, n)| n);
                Err(self.lexer.error_at(start, &format!("a value of type {}", name(of))))
            }
            _ => Ok(kind),
        }
    }

    /// An attribute after its name.
    fn attribute(&mut self, name: String, depth: usize) -> Result<AttributeProto> {
        self.deeper(depth)?;
        let mut attribute = AttributeProto { name: Some(name), ..AttributeProto::default() };
        let mut annotated = None;
        if self.lexer.eat(b':') {
            let word = self.lexer.peek_word();
            let Some((kind, _)) = ATTRIBUTE_TYPES.iter().find(|(_, known)| *known == word) else {
                return self
                    .lexer
                    .fail("an attribute type: int, float, string, tensor, graph, ints, floats, ...");
            };
            self.lexer.word();
            annotated = Some(*kind);
        }
        self.lexer.expect(b'=')?;
        let kind = if self.lexer.eat(b'@') {
            attribute.ref_attr_name = Some(self.lexer.name("the name of a function's attribute")?);
            annotated
        } else if self.lexer.peek() == Some(b'[') {
            Some(self.attribute_list(&mut attribute, annotated, depth)?)
        } else if self.none_is_next() {
            self.lexer.eat(b'?');
            annotated
        } else {
            Some(self.attribute_value(&mut attribute, annotated, depth)?)
        };
        attribute.r#type = kind.map(|kind| kind as i32);
        Ok(attribute)
    }

    fn attribute_list(
        &mut self,
        attribute: &mut AttributeProto,
        annotated: Option<AttributeType>,
        depth: usize,
    ) -> Result<AttributeType> {
        let start = self.lexer.start();
        let lists = [
            (AttributeType::Int, AttributeType::Ints),
            (AttributeType::Float, AttributeType::Floats),
            (AttributeType::String, AttributeType::Strings),
            (AttributeType::Tensor, AttributeType::Tensors),
            (AttributeType::Graph, AttributeType::Graphs),
            (AttributeType::SparseTensor, AttributeType::SparseTensors),
            (AttributeType::TypeProto, AttributeType::TypeProtos),
        ];
        let mut found = match annotated {
            None => None,
            Some(kind) => match lists.iter().find(|(_, list)| *list == kind) {
                Some(pair) => Some(*pair),
                None => return self.lexer.fail("one value, for this attribute is no list"),
            },
        };
        self.list(b'[', b']', |parser| {
            let of = found.map(|(one, _)| one);
            if of == Some(AttributeType::TypeProto) && parser.none_is_next() {
                parser.lexer.eat(b'?');
                attribute.type_protos.push(TypeProto::default());
                return Ok(());
            }
            let mut value = AttributeProto::default();
            let kind = parser.attribute_value(&mut value, of, depth)?;
            found = lists.iter().find(|(one, _)| *one == kind).copied();
            attribute.ints.extend(value.i);
            attribute.floats.extend(value.f);
            attribute.strings.extend(value.s);
            attribute.tensors.extend(value.t);
            attribute.graphs.extend(value.g);
            attribute.sparse_tensors.extend(value.sparse_tensor);
            attribute.type_protos.extend(value.tp);
            Ok(())
        })?;
        match found {
            Some((_, kind)) => Ok(kind),
            None => Err(self.lexer.error_at(start, "the type of an empty list: `name: ints = []`")),
        }
    }

    fn attributes(&mut self, depth: usize) -> Result<Vec<AttributeProto>> {
        if self.lexer.peek() != Some(b'<') {
            return Ok(Vec::new());
        }
        self.lexer.expect(b'<')?;
        let mut attributes = Vec::new();
        loop {
            let name = self.lexer.name("the name of an attribute")?;
            attributes.push(self.attribute(name, depth)?);
            if !self.lexer.eat(b',') {
                break;
            }
        }
        self.lexer.expect(b'>')?;
        Ok(attributes)
    }

    /// Names of values, any of which may be left out: `a, , c`. Nothing before the first comma is a name too,
    /// nothing after the last is none.
    fn names(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        loop {
            if self.lexer.peek() == Some(b'"') {
                names.push(self.lexer.string()?);
            } else {
                let word = self.lexer.word();
                if word.is_empty() && self.lexer.peek() != Some(b',') {
                    return Ok(names);
                }
                names.push(word.to_owned());
            }
            if !self.lexer.eat(b',') {
                return Ok(names);
            }
        }
    }

    fn node(&mut self, depth: usize) -> Result<NodeProto> {
        self.deeper(depth)?;
        let notes = self.lexer.take_notes();
        let mut node = NodeProto::default();
        if self.lexer.eat(b'[') {
            let quoted = self.lexer.peek() == Some(b'"');
            node.name = Some(if quoted { self.lexer.string()? } else { self.lexer.word().to_owned() });
            self.lexer.expect(b']')?;
        }
        node.output = self.names()?;
        self.lexer.expect(b'=')?;
        let mut words = Vec::new();
        if self.lexer.peek() == Some(b'"') || !self.lexer.peek_word().is_empty() {
            words = self.dotted("the name of an operator")?;
        }
        node.op_type = words.pop();
        node.domain = filled(words.join("."));
        if self.lexer.eat(b':') {
            node.overload = Some(self.lexer.name("the name of an overload")?);
        }
        node.attribute = self.attributes(depth + 1)?;
        self.lexer.expect(b'(')?;
        node.input = self.names()?;
        self.lexer.expect(b')')?;
        if node.attribute.is_empty() {
            node.attribute = self.attributes(depth + 1)?;
        }
        note::apply_to_node(notes, &mut node)?;
        Ok(node)
    }

    fn nodes(&mut self, depth: usize) -> Result<Vec<NodeProto>> {
        self.lexer.expect(b'{')?;
        let mut nodes = Vec::new();
        while !self.lexer.eat(b'}') {
            if self.lexer.at_end() {
                return self.lexer.fail("a node or `}`");
            }
            nodes.push(self.node(depth + 1)?);
        }
        self.lexer.no_notes(STRAY)?;
        Ok(nodes)
    }

    /// A value, or with `=` the initializer of one.
    fn value_or_initializer(&mut self) -> Result<(ValueInfoProto, Option<TensorProto>)> {
        let start = self.lexer.start();
        let info = self.value_info()?;
        let mut tensor = None;
        if self.lexer.eat(b'=') {
            let name = info.name().to_owned();
            tensor = Some(self.tensor_of(info.r#type.as_ref(), start, name)?);
        }
        Ok((info, tensor))
    }

    fn graph(&mut self, depth: usize) -> Result<GraphProto> {
        self.deeper(depth)?;
        let mut graph =
            GraphProto { name: Some(self.lexer.name("the name of a graph")?), ..GraphProto::default() };
        if self.lexer.peek() == Some(b'(') {
            for (info, tensor) in self.list(b'(', b')', Self::value_or_initializer)? {
                graph.input.push(info);
                graph.initializer.extend(tensor);
            }
        }
        self.lexer.expect_arrow()?;
        graph.output = self.list(b'(', b')', Self::value_info)?;
        if self.lexer.peek() == Some(b'<') {
            for (info, tensor) in self.list(b'<', b'>', Self::value_or_initializer)? {
                match tensor {
                    Some(tensor) => graph.initializer.push(tensor),
                    None => graph.value_info.push(info),
                }
            }
        }
        let notes = self.lexer.take_notes();
        note::apply_to_graph(notes, &mut graph)?;
        graph.node = self.nodes(depth)?;
        Ok(graph)
    }

    fn opsets(&mut self) -> Result<Vec<OperatorSetIdProto>> {
        self.list(b'[', b']', |parser| {
            let domain = Some(parser.lexer.string()?);
            parser.lexer.expect(b':')?;
            Ok(OperatorSetIdProto { domain, version: Some(parser.lexer.int()?) })
        })
    }

    /// `<key: value, ...>`, if it is next; `value` reads the value of a key and is false for an unknown one.
    fn header(
        &mut self,
        wanted: &str,
        mut value: impl FnMut(&mut Self, &'a str) -> Result<bool>,
    ) -> Result<()> {
        if !self.lexer.eat(b'<') {
            return Ok(());
        }
        loop {
            let start = self.lexer.start();
            let key = self.lexer.word();
            if key.is_empty() {
                return self.lexer.fail(wanted);
            }
            self.lexer.expect(b':')?;
            if !value(self, key)? {
                return Err(self.lexer.error_at(start, wanted));
            }
            if !self.lexer.eat(b',') {
                break;
            }
        }
        self.lexer.expect(b'>')
    }

    fn function(&mut self) -> Result<FunctionProto> {
        // A text cannot tell an empty domain from none.
        let mut function = FunctionProto { domain: Some(String::new()), ..FunctionProto::default() };
        self.header("domain, overload, opset_import or doc_string", |parser, key| {
            match key {
                "domain" => function.domain = Some(parser.lexer.string()?),
                "overload" => function.overload = Some(parser.lexer.string()?),
                "opset_import" => function.opset_import.extend(parser.opsets()?),
                "doc_string" => function.doc_string = Some(parser.lexer.string()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        function.name = Some(self.lexer.name("the name of a function")?);
        if self.lexer.eat(b'<') {
            loop {
                let name = self.lexer.name("the name of an attribute")?;
                if matches!(self.lexer.peek(), Some(b':' | b'=')) {
                    function.attribute_proto.push(self.attribute(name, 2)?);
                } else {
                    function.attribute.push(name);
                }
                if !self.lexer.eat(b',') {
                    break;
                }
            }
            self.lexer.expect(b'>')?;
        }
        let inputs = self.list(b'(', b')', Self::value_info)?;
        self.lexer.expect_arrow()?;
        let outputs = self.list(b'(', b')', Self::value_info)?;
        for (names, infos) in [(&mut function.input, inputs), (&mut function.output, outputs)] {
            for info in infos {
                names.push(info.name().to_owned());
                if info.r#type.is_some() {
                    function.value_info.push(info);
                }
            }
        }
        if self.lexer.peek() == Some(b'<') {
            function.value_info.extend(self.list(b'<', b'>', Self::value_info)?);
        }
        let notes = self.lexer.take_notes();
        note::apply_to_function(notes, &mut function)?;
        function.node = self.nodes(1)?;
        Ok(function)
    }

    fn model(&mut self) -> Result<ModelProto> {
        let mut model = ModelProto::default();
        let wanted = "ir_version, opset_import, producer_name, producer_version, domain, model_version, \
                      doc_string or metadata_props";
        self.header(wanted, |parser, key| {
            let lexer = &mut parser.lexer;
            match key {
                "ir_version" => model.ir_version = Some(lexer.int()?),
                "opset_import" => model.opset_import.extend(parser.opsets()?),
                "producer_name" => model.producer_name = Some(lexer.string()?),
                "producer_version" => model.producer_version = Some(lexer.string()?),
                "domain" => model.domain = Some(lexer.string()?),
                "model_version" => model.model_version = Some(lexer.int()?),
                "doc_string" => model.doc_string = Some(lexer.string()?),
                "metadata_props" => model.metadata_props.extend(entries(lexer)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let notes = self.lexer.take_notes();
        note::apply_to_model(notes, &mut model)?;
        model.graph = Some(self.graph(1)?);
        while !self.lexer.at_end() {
            model.functions.push(self.function()?);
        }
        Ok(model)
    }
}
