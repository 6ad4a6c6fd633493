//! Models written to a stream, field by field.
//!
//! prost encodes into memory. Here the messages that hold weights are taken apart, and the weights go from
//! where they are to the stream; everything else is encoded by prost, a small message at a time. The
//! bytes are the same as prost's.

use std::io::{self, Write};

use bytes::Bytes;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use crate::scan::DEPTH;

/// A message smaller than this is encoded in memory at once.
const SMALL: usize = 1 << 16;

/// Writes `model` to `out`, without a copy of its weights.
pub(crate) fn write_model(model: &ModelProto, out: &mut dyn Write) -> io::Result<()> {
    let Some(graph) = &model.graph else { return out.write_all(&model.encode_to_vec()) };
    // Functions hold weights only by accident; they are written as they are.
    let ModelProto {
        ir_version,
        producer_name,
        producer_version,
        domain,
        model_version,
        doc_string,
        graph: _,
        opset_import,
        metadata_props,
        training_info,
        functions,
        configuration,
    } = model;
    let before = ModelProto {
        ir_version: *ir_version,
        producer_name: producer_name.clone(),
        producer_version: producer_version.clone(),
        domain: domain.clone(),
        model_version: *model_version,
        doc_string: doc_string.clone(),
        ..ModelProto::default()
    };
    out.write_all(&before.encode_to_vec())?;
    key(7, graph.encoded_len(), out)?;
    write_graph(graph, 1, out)?;
    each(8, opset_import, out)?;
    each(14, metadata_props, out)?;
    each(20, training_info, out)?;
    each(25, functions, out)?;
    each(26, configuration, out)
}

/// The key of a field of a length, and the length.
fn key(number: u32, len: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut head = Vec::with_capacity(16);
    encode_varint(u64::from(number << 3 | 2), &mut head);
    encode_varint(len as u64, &mut head);
    out.write_all(&head)
}

fn each<M: Message>(number: u32, messages: &[M], out: &mut dyn Write) -> io::Result<()> {
    for message in messages {
        key(number, message.encoded_len(), out)?;
        out.write_all(&message.encode_to_vec())?;
    }
    Ok(())
}

/// Writes `part`, a message with some of another's fields.
fn some<M: Message>(part: &M, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&part.encode_to_vec())
}

fn deeper(depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the model nests more than {DEPTH} messages; no protobuf library would read it"),
        ));
    }
    Ok(())
}

fn write_graph(graph: &GraphProto, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    deeper(depth)?;
    let GraphProto {
        node,
        name,
        initializer,
        sparse_initializer,
        doc_string,
        input,
        output,
        value_info,
        quantization_annotation,
        metadata_props,
    } = graph;
    for node in node {
        let len = node.encoded_len();
        key(1, len, out)?;
        if len < SMALL { some(node, out)? } else { write_node(node, depth + 1, out)? }
    }
    some(&GraphProto { name: name.clone(), ..GraphProto::default() }, out)?;
    for tensor in initializer {
        key(5, tensor.encoded_len(), out)?;
        write_tensor(tensor, out)?;
    }
    some(&GraphProto { doc_string: doc_string.clone(), ..GraphProto::default() }, out)?;
    each(11, input, out)?;
    each(12, output, out)?;
    each(13, value_info, out)?;
    each(14, quantization_annotation, out)?;
    for tensor in sparse_initializer {
        key(15, tensor.encoded_len(), out)?;
        write_sparse(tensor, out)?;
    }
    each(16, metadata_props, out)
}

fn write_node(node: &NodeProto, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    deeper(depth)?;
    let NodeProto {
        input,
        output,
        name,
        op_type,
        domain,
        overload,
        attribute,
        doc_string,
        metadata_props,
        device_configurations,
    } = node;
    let before = NodeProto {
        input: input.clone(),
        output: output.clone(),
        name: name.clone(),
        op_type: op_type.clone(),
        ..NodeProto::default()
    };
    some(&before, out)?;
    for attribute in attribute {
        let len = attribute.encoded_len();
        key(5, len, out)?;
        if len < SMALL { some(attribute, out)? } else { write_attribute(attribute, depth + 1, out)? }
    }
    let after = NodeProto {
        doc_string: doc_string.clone(),
        domain: domain.clone(),
        overload: overload.clone(),
        metadata_props: metadata_props.clone(),
        device_configurations: device_configurations.clone(),
        ..NodeProto::default()
    };
    some(&after, out)
}

fn write_attribute(attribute: &AttributeProto, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    deeper(depth)?;
    let AttributeProto {
        name,
        ref_attr_name,
        doc_string,
        r#type,
        f,
        i,
        s,
        t,
        g,
        sparse_tensor,
        tp,
        floats,
        ints,
        strings,
        tensors,
        graphs,
        sparse_tensors,
        type_protos,
    } = attribute;
    let none = AttributeProto::default;
    some(&AttributeProto { name: name.clone(), f: *f, i: *i, ..none() }, out)?;
    bytes(4, s.as_ref(), out)?;
    if let Some(tensor) = t {
        key(5, tensor.encoded_len(), out)?;
        write_tensor(tensor, out)?;
    }
    if let Some(graph) = g {
        key(6, graph.encoded_len(), out)?;
        write_graph(graph, depth + 1, out)?;
    }
    some(&AttributeProto { floats: floats.clone(), ints: ints.clone(), ..none() }, out)?;
    for string in strings {
        bytes(9, Some(string), out)?;
    }
    for tensor in tensors {
        key(10, tensor.encoded_len(), out)?;
        write_tensor(tensor, out)?;
    }
    for graph in graphs {
        key(11, graph.encoded_len(), out)?;
        write_graph(graph, depth + 1, out)?;
    }
    let after = AttributeProto {
        doc_string: doc_string.clone(),
        tp: tp.clone(),
        type_protos: type_protos.clone(),
        r#type: *r#type,
        ref_attr_name: ref_attr_name.clone(),
        ..none()
    };
    some(&after, out)?;
    if let Some(tensor) = sparse_tensor {
        key(22, tensor.encoded_len(), out)?;
        write_sparse(tensor, out)?;
    }
    for tensor in sparse_tensors {
        key(23, tensor.encoded_len(), out)?;
        write_sparse(tensor, out)?;
    }
    Ok(())
}

fn write_sparse(tensor: &SparseTensorProto, out: &mut dyn Write) -> io::Result<()> {
    let SparseTensorProto { values, indices, dims } = tensor;
    for (number, tensor) in [(1, values), (2, indices)] {
        if let Some(tensor) = tensor {
            key(number, tensor.encoded_len(), out)?;
            write_tensor(tensor, out)?;
        }
    }
    some(&SparseTensorProto { dims: dims.clone(), ..SparseTensorProto::default() }, out)
}

fn bytes(number: u32, value: Option<&Bytes>, out: &mut dyn Write) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    key(number, value.len(), out)?;
    out.write_all(value)
}

fn write_tensor(tensor: &TensorProto, out: &mut dyn Write) -> io::Result<()> {
    let TensorProto {
        dims,
        data_type,
        segment,
        float_data,
        int32_data,
        string_data,
        int64_data,
        name,
        doc_string,
        raw_data,
        external_data,
        data_location,
        double_data,
        uint64_data,
        metadata_props,
    } = tensor;
    let before = TensorProto {
        dims: dims.clone(),
        data_type: *data_type,
        segment: *segment,
        ..TensorProto::default()
    };
    some(&before, out)?;
    packed(4, float_data.len() * 4, float_data, |value| value.to_bits().to_le_bytes(), out)?;
    varints(5, int32_data, |&value| value as i64 as u64, out)?;
    for string in string_data {
        bytes(6, Some(string), out)?;
    }
    varints(7, int64_data, |&value| value as u64, out)?;
    some(&TensorProto { name: name.clone(), ..TensorProto::default() }, out)?;
    bytes(9, raw_data.as_ref(), out)?;
    packed(10, double_data.len() * 8, double_data, |value| value.to_bits().to_le_bytes(), out)?;
    varints(11, uint64_data, |&value| value, out)?;
    let after = TensorProto {
        doc_string: doc_string.clone(),
        external_data: external_data.clone(),
        data_location: *data_location,
        metadata_props: metadata_props.clone(),
        ..TensorProto::default()
    };
    some(&after, out)
}

fn packed<T, const N: usize>(
    number: u32,
    len: usize,
    values: &[T],
    bits: impl Fn(&T) -> [u8; N],
    out: &mut dyn Write,
) -> io::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    key(number, len, out)?;
    let mut buffer = Vec::with_capacity(N * 1024);
    for chunk in values.chunks(1024) {
        buffer.clear();
        for value in chunk {
            buffer.extend_from_slice(&bits(value));
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}

fn varints<T>(number: u32, values: &[T], bits: impl Fn(&T) -> u64, out: &mut dyn Write) -> io::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    key(number, values.iter().map(|value| encoded_len_varint(bits(value))).sum(), out)?;
    let mut buffer = Vec::with_capacity(10 * 1024);
    for chunk in values.chunks(1024) {
        buffer.clear();
        for value in chunk {
            encode_varint(bits(value), &mut buffer);
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}
