//! ONNX's text syntax: what prints, what reads back, what errors say.

use bytes::Bytes;
use oxidane_onnx::proto::tensor_proto::DataType;
use oxidane_onnx::proto::*;
use oxidane_onnx::{raw_bytes, text};
use prost::Message;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Text that prints as it is read.
const MODEL: &str = r#"<
   ir_version: 10,
   opset_import: ["" : 21, "com.example" : 1],
   producer_name: "a \"quoted\" \\ name",
   model_version: 3,
   doc_string: "two
lines",
   metadata_props: ["k": "v"]
>
#@ training_info: x"0a00"
g (float[N,3] x, float[] "any rank", seq(map(int64, float)) s, optional(int8[?,"a+b"]) o) => (float y) 
   <float[2] w =  {1,-0.5}, string[2] t = {"a", "b\""}, int4[3] q =  {33,3}, float[9] big = ["location": "w.bin", "offset": "0"], float[N] v>
   #@ doc_string: "a graph\nof two lines"
   #@ input 0 doc_string: "an \"input\""
   #@ input 0 denotation: "IMAGE"
   #@ input 0 dim 1 denotation: "CHANNEL"
   #@ input 2 type: x"22090a070a05080112010a000a0032"
   #@ initializer 0 metadata_props: ["m": "n"]
   #@ sparse_initializer: sparse([4,4], float[2] sp {1,2}, int64[2] {0,5})
   #@ quantization_annotation: "x" ["SCALE_TENSOR": "w"]
{
   #@ doc_string: "a node"
   #@ metadata_props: ["a": "b"]
   #@ attribute 1 doc_string: "an attribute"
   #@ attribute 7 t name: "a/name"
   #@ attribute 7 t bits: [0: 2141192193]
   [n] a, "", "c d" = com.example.Op:over <i: int = -3, f: float = 1e-05, s: string = "x", e: ints = [], l: floats = [1, nan, -inf, -0], n: strings = ["a", x"ff"], r: int = @ref, t: tensor = float[2] {nan,1}, tp: type_proto = float[N], tps: type_protos = [float, seq(int64[])], ts: tensors = [float {1}, int64[0] z {}], sp: sparse_tensor = sparse([3], float[1] {1}, int64[1] {2})> (x, "", w)
   y = If (a) <then_branch: graph = b () => (float z) {
      z = Identity (x)
   }, else_branch: graph = _ () => (float z) 
      <float z2 =  {1}>
      #@ name: "c-d"
{
      z = Loop (x) <body: graph = inner ( i) => ( j) {
         j = Neg (i)
      }>
   }>
}
<
  domain: "com.example",
  overload: "over",
  doc_string: "a function",
  opset_import: ["" : 21]
>
Op <k,d: int = 1>(p, "float") => (q)
   <float[N] p>
{
   q = Add (p, p)
}"#;

#[test]
fn the_whole_syntax_prints_as_it_reads() -> Outcome {
    // The type in the note is one that was encoded, not one that was typed.
    let model = {
        let mut model = text::parse_model(
            &MODEL.replace("   #@ input 2 type: x\"22090a070a05080112010a000a0032\"\n", ""),
        )?;
        let graph = model.graph.as_mut().ok_or("a graph")?;
        if let Some(type_proto::Value::SequenceType(s)) =
            graph.input[2].r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            s.elem_type.as_mut().ok_or("an element")?.denotation = Some("inner".into());
        }
        model
    };
    let printed = text::print_model(&model)?;
    let again = text::parse_model(&printed)?;
    // Compared as bytes, for a NaN equals nothing.
    assert!(again.encode_to_vec() == model.encode_to_vec());
    assert_eq!(text::print_model(&again)?, printed);
    let without = |text: &str| {
        text.lines().filter(|line| !line.contains("input 2 type")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without(&printed), without(MODEL));
    Ok(())
}

fn tensor(dtype: DataType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some("t".into()),
        data_type: Some(dtype as i32),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

#[test]
fn every_element_type_keeps_its_bits() -> Outcome {
    for code in 1..=28 {
        let dtype = DataType::try_from(code)?;
        if dtype == DataType::String {
            continue;
        }
        for count in 0..9i64 {
            let bits = oxidane_tensor::DType::from_onnx(code).ok_or("a type")?.bits();
            let len = (count as usize * bits).div_ceil(8);
            let mut state = code as u32;
            let mut raw: Vec<u8> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                    // Ordinary floats: their last byte is not that of a NaN.
                    (state >> 24) as u8 & 0x3f
                })
                .collect();
            // What is left over of the last byte is zero.
            if bits < 8
                && let Some(last) = raw.last_mut()
            {
                let over = len * 8 - count as usize * bits;
                *last &= 0xff >> over;
            }
            let before = TensorProto { raw_data: Some(raw.into()), ..tensor(dtype, &[count]) };
            let printed = text::print_tensor(&before)?;
            let after = text::parse_tensor(&printed)?;
            assert!(!printed.contains("x\""), "{printed}");
            assert!(after == before, "{printed}");
        }
    }
    Ok(())
}

#[test]
fn typed_fields_print_as_raw_data_does() -> Outcome {
    let cases = [
        TensorProto { float_data: vec![1.5, -0.0], ..tensor(DataType::Float, &[2]) },
        TensorProto { float_data: vec![1.5, 2.0], ..tensor(DataType::Complex64, &[1]) },
        TensorProto { double_data: vec![0.1], ..tensor(DataType::Double, &[1]) },
        TensorProto { int32_data: vec![-1, 7], ..tensor(DataType::Int8, &[2]) },
        TensorProto { int32_data: vec![15360], ..tensor(DataType::Float16, &[1]) },
        TensorProto { int32_data: vec![0x21, 0x03], ..tensor(DataType::Uint4, &[3]) },
        TensorProto { int32_data: vec![1, 2, 63, 4, 5], ..tensor(DataType::Float6e2m3, &[5]) },
        TensorProto { int64_data: vec![i64::MIN, i64::MAX], ..tensor(DataType::Int64, &[2]) },
        TensorProto { uint64_data: vec![u64::MAX], ..tensor(DataType::Uint64, &[1]) },
        TensorProto { uint64_data: vec![4_000_000_000], ..tensor(DataType::Uint32, &[1]) },
    ];
    for typed in cases {
        let printed = text::print_tensor(&typed)?;
        let read = text::parse_tensor(&printed)?;
        assert!(read.raw_data == raw_bytes(&typed), "{printed}");
        assert_eq!(text::print_tensor(&read)?, printed);
    }
    Ok(())
}

#[test]
fn nothing_of_an_odd_tensor_is_lost() -> Outcome {
    let cases = [
        // Too few bytes, bytes that are no whole elements, unpacked four-bit values.
        TensorProto { raw_data: Some(Bytes::from_static(&[1, 2, 3])), ..tensor(DataType::Float, &[2]) },
        TensorProto { raw_data: Some(Bytes::from_static(&[1, 2, 3, 4])), ..tensor(DataType::Int4, &[4]) },
        // An element type that nobody knows, with bytes and with numbers.
        TensorProto {
            raw_data: Some(Bytes::from_static(&[1])),
            data_type: Some(99),
            ..tensor(DataType::Float, &[1])
        },
        TensorProto { float_data: vec![1.0], data_type: Some(0), ..tensor(DataType::Float, &[1]) },
        TensorProto {
            string_data: vec![Bytes::from_static(b"\xff\x00"), Bytes::new()],
            ..tensor(DataType::String, &[2])
        },
        TensorProto {
            raw_data: Some(Bytes::from_static(&[0, 0, 0x80, 0x3f])),
            ..tensor(DataType::Float, &[1 << 62, 1 << 62])
        },
    ];
    for before in cases {
        let printed = text::print_tensor(&before)?;
        assert!(text::parse_tensor(&printed)? == before, "{printed}");
    }
    Ok(())
}

#[test]
fn every_nan_keeps_its_bits() -> Outcome {
    let bits = [0x7fc0_0000u32, 0xffc0_0000, 0x7fa0_0001, 0xffff_ffff, 0x3f80_0000];
    let raw: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let graph = GraphProto {
        name: Some("g".into()),
        initializer: vec![TensorProto { raw_data: Some(raw.into()), ..tensor(DataType::Float, &[5]) }],
        ..GraphProto::default()
    };
    let printed = text::print_graph(&graph)?;
    assert!(printed.contains("float[5] t =  {nan,-nan,nan,-nan,1}"), "{printed}");
    assert!(printed.contains("#@ initializer 0 bits: [2: 2141192193, 3: 4294967295]"), "{printed}");
    assert!(text::parse_graph(&printed)? == graph);
    Ok(())
}

#[test]
fn old_attributes_without_a_type_get_one() -> Outcome {
    let node = NodeProto {
        op_type: Some("Op".into()),
        attribute: vec![AttributeProto {
            name: Some("k".into()),
            ints: vec![1, 2],
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    };
    assert_eq!(text::print_node(&node)?, "    = Op <k: ints = [1, 2]> ()\n");
    Ok(())
}

#[test]
fn what_people_type_reads_too() -> Outcome {
    let graph = text::parse_graph(
        "# a comment\ng(float[2] x = {1, 2}, y)=>(z){z=Op(x,,y,)<a=1,b=[1,2],c=1.0,d=\"s\",e=float[1]{1},f=float,h=k()=>(){}>}",
    )?;
    let node = &graph.node[0];
    assert_eq!(node.input, ["x", "", "y"]);
    let types: Vec<i32> = node.attribute.iter().map(AttributeProto::r#type).map(|kind| kind as i32).collect();
    assert_eq!(types, [2, 7, 1, 3, 4, 13, 5]);
    assert_eq!((graph.input.len(), graph.initializer.len()), (2, 1));
    let int4 = text::parse_tensor("int4[5] {1, -2, 3, -4, 5}")?;
    assert_eq!(int4.raw_data.unwrap_or_default(), vec![0xe1, 0xc3, 0x05]);
    let uint2 = text::parse_tensor("uint2[5] = {1, 2, 3, 0, 1}")?;
    assert_eq!(uint2.raw_data.unwrap_or_default(), vec![0b0011_1001, 1]);
    assert_eq!(
        text::parse_type("opaque(a.b,c)")?.encode_to_vec(),
        [0x3a, 8, 0x0a, 3, b'a', b'.', b'b', 0x12, 1, b'c']
    );
    Ok(())
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "line 1, column 1: expected the name of a graph, found the end of the text"),
        ("g (x) = (y) {}", "line 1, column 7: expected `=>`, found `=`"),
        ("g () => () {\n  y = Relu(x\n}", "line 3, column 1: expected `)`, found `}`"),
        (
            "g () => () {\n  y = Relu(x)",
            "line 2, column 14: expected a node or `}`, found the end of the text",
        ),
        ("<ir_versio: 3> g () => () {}", "line 1, column 2: expected ir_version, opset_import,"),
        ("<ir_version: x> g", "line 1, column 14: expected a whole number, found `x`"),
        ("g (floot[3] x) => () {}", "line 1, column 9: expected `)`, found `[`"),
        ("g (seq(floot) x) => () {}", "line 1, column 8: expected a type: an element type such as float"),
        (
            "g (float[N] x = {1}) => () {}",
            "line 1, column 4: expected a tensor type with numbers for its dims",
        ),
        ("g (int8[1] x = {300}) => () {}", "line 1, column 17: expected a value that fits int8, found `300`"),
        (
            "g (int64[1] x = {99999999999999999999}) => () {}",
            "line 1, column 18: expected a whole number that fits",
        ),
        ("g (float[1] x = {1e99}) => () {}", "line 1, column 18: expected a number that fits 32-bit"),
        (
            "g () => () { y = Op <a: int = 1.5> () }",
            "line 1, column 31: expected a value of type int, found `1.5`",
        ),
        ("g () => () { y = Op <a: it = 1> () }", "line 1, column 25: expected an attribute type"),
        ("g () => () { y = Op <a = []> () }", "line 1, column 26: expected the type of an empty list"),
        (
            "g () => () { y = Op <s = \"abc> () }",
            "line 1, column 26: expected a closing quote, found `\"abc> () }`",
        ),
        (
            "g () => () {\n #@ doc_strin: \"\"\n y = Op() }",
            "line 2, column 5: expected doc_string, metadata_props, attribute",
        ),
        ("g () => () {\n y = Op()\n #@ doc_string: \"\"\n}", "line 3, column 5: expected a node, or the `{`"),
        (
            "g () => () {\n #@ attribute 3 doc_string: \"\"\n y = Op() }",
            "line 2, column 15: expected an index below 0",
        ),
        ("g () => () {} trailing", "line 1, column 23: expected"),
    ];
    for (text, wanted) in cases {
        let error = text::parse_model(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}\n{error}\n{wanted}");
    }
}

#[test]
fn nesting_is_capped() {
    let graphs = |depth: usize| {
        format!(
            "{}{}",
            "g () => () { y = If () <b: graph = ".repeat(depth) + "g () => () {}",
            "> }".repeat(depth)
        )
    };
    assert!(text::parse_graph(&graphs(33)).is_ok());
    let error = text::parse_graph(&graphs(10_000)).unwrap_err().to_string();
    assert!(error.contains("about 33 graphs"), "{error}");
    let types = |depth: usize| format!("{}float{}", "seq(".repeat(depth), ")".repeat(depth));
    assert!(text::parse_type(&types(40)).is_ok());
    assert!(text::parse_type(&types(10_000)).is_err());
    // A model in memory may nest deeper than a text or a file; it is refused too.
    let mut graph = GraphProto::default();
    for _ in 0..200 {
        let attribute = AttributeProto { g: Some(graph), ..AttributeProto::default() };
        let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
        graph = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    assert!(text::print_graph(&graph).is_err());
}

#[test]
fn mutated_texts_do_no_harm() {
    let pieces = [
        "\"", "\\", "{", "}", "<", ">", "[", "]", "(", ")", "#@ ", "#", "?", "@", "-", "x\"", "m\"", "é",
        "\n", "=", "99", "float", "nan", "sparse(",
    ];
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let chars: Vec<char> = MODEL.chars().collect();
    for cut in 0..chars.len() {
        let _ = text::parse_model(&chars[..cut].iter().collect::<String>());
    }
    for _ in 0..20_000 {
        let mut chars = chars.clone();
        for _ in 0..1 + random(3) {
            let at = random(chars.len());
            match random(3) {
                0 => drop(chars.remove(at)),
                1 => drop(chars.splice(at..at, pieces[random(pieces.len())].chars())),
                _ => {
                    let to = (at + random(20)).min(chars.len());
                    chars.drain(at..to);
                }
            }
        }
        let mutated: String = chars.into_iter().collect();
        if let Ok(model) = text::parse_model(&mutated) {
            let printed = text::print_model(&model).unwrap();
            let again =
                text::print_model(&text::parse_model(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}")))
                    .unwrap();
            assert_eq!(printed, again);
        }
    }
}

#[test]
fn a_function_without_a_header_stays_the_same() -> Outcome {
    let read =
        text::parse_model("g (float[2] x) => (float[2] y) { y = f (x) }\nf (a) => (b) { b = Relu (a) }")?;
    let again = text::parse_model(&text::print_model(&read)?)?;
    assert_eq!(read.functions, again.functions);
    Ok(())
}
