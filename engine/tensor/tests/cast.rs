//! Conversions against tables made by ml_dtypes and onnx's reference, and ONNX's official cases.

use oxidane_tensor::{CastRules, DType, RoundMode, Tensor, TensorError};
use std::sync::Arc;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn floats(words: &[&str]) -> Vec<f32> {
    let value =
        |w: &&str| if *w == "nan" { f32::NAN } else { f32::from_bits(u32::from_str_radix(w, 16).unwrap()) };
    words.iter().map(value).collect()
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// One byte a code, packed or not, as a tensor of `dtype`.
fn codes(dtype: DType, values: &[u8]) -> Tensor {
    let plain = Tensor::new(&[values.len()], values).unwrap();
    if dtype.is_packed() { plain.repacked(dtype).unwrap() } else { plain.reinterpret(dtype).unwrap() }
}

#[test]
fn small_floats_match_the_tables() {
    let mut inputs = Vec::new();
    for line in include_str!("data/float8.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "value" => {
                let dtype = DType::from_name(words[1]).unwrap();
                let expected = floats(&words[2..]);
                let all: Vec<u8> = (0..expected.len()).map(|c| c as u8).collect();
                let found = codes(dtype, &all).cast(DType::F32, CastRules::default()).unwrap();
                for (code, (x, y)) in found.slice::<f32>().unwrap().iter().zip(&expected).enumerate() {
                    assert!(same(*x, *y), "{dtype} code {code}: {x} is not {y}");
                }
            }
            "inputs" => inputs = floats(&words[1..]),
            "code" => {
                let dtype = DType::from_name(words[1]).unwrap();
                let round = match words[3] {
                    "up" => RoundMode::Up,
                    "down" => RoundMode::Down,
                    _ => RoundMode::Nearest,
                };
                let rules = CastRules { saturate: words[2] == "1", round };
                let found = Tensor::new(&[inputs.len()], &inputs).unwrap().cast(dtype, rules).unwrap();
                let found = found.unpacked().unwrap();
                for (i, (x, y)) in found.slice::<u8>().unwrap().iter().zip(&words[4..]).enumerate() {
                    assert_eq!(format!("{x:02x}"), *y, "{dtype} {rules:?} of {}", inputs[i]);
                }
            }
            _ => {}
        }
    }
    assert!(!inputs.is_empty());
}

#[test]
fn official_cases() {
    let mut count = 0;
    for line in include_str!("data/cast_cases.txt").lines().filter(|l| !l.starts_with('#')) {
        let w: Vec<&str> = line.split(' ').collect();
        let (from, to) = (DType::from_name(w[1]).unwrap(), DType::from_name(w[2]).unwrap());
        let shape = [w[4].parse::<usize>().unwrap()];
        let input = Tensor::from_bytes(from, &shape, bytes(w[5]).into()).unwrap();
        let expected = Tensor::from_bytes(to, &shape, bytes(w[6]).into()).unwrap();
        let found = input.cast(to, CastRules { saturate: w[3] == "1", ..CastRules::default() }).unwrap();
        assert_eq!(found.dtype(), to, "{}", w[0]);
        if found.dense_bytes() != expected.dense_bytes() {
            let (a, b) = (found.to_texts().unwrap(), expected.to_texts().unwrap());
            assert_eq!(a, b, "{}", w[0]);
        }
        count += 1;
    }
    assert!(count > 50);
}

#[test]
fn every_pair_of_types() {
    for from in DType::ALL {
        for to in DType::ALL {
            let source = Tensor::from_f64s(from, &[2, 2], &[1.0, 1.0, 1.0, 1.0]).unwrap();
            match source.cast(to, CastRules::default()) {
                Ok(t) => assert_eq!((t.dtype(), t.shape()), (to, &[2usize, 2][..])),
                Err(e) => {
                    assert!(
                        (from.is_complex() && !to.is_complex()) || to.is_complex(),
                        "{from} to {to}: {e}"
                    );
                }
            }
            let empty = Tensor::zeros(from, &[0, 3]).unwrap().cast(to, CastRules::default());
            assert!(empty.is_ok() || from.is_complex() || to.is_complex());
        }
    }
}

#[test]
fn floats_to_integers_as_numpy_on_x86() {
    let x = [-9.0f32, 3.7, 200.0, -1.0, f32::NAN, f32::INFINITY, 1e10, -1.5e19];
    let cast = |to| {
        Tensor::new(&[8], &x).unwrap().cast(to, CastRules::default()).unwrap().to_texts().unwrap().join(" ")
    };
    assert_eq!(cast(DType::I8), "-9 3 -56 -1 0 0 0 0");
    assert_eq!(cast(DType::U8), "247 3 200 255 0 0 0 0");
    assert_eq!(cast(DType::I32), "-9 3 200 -1 -2147483648 -2147483648 -2147483648 -2147483648");
    assert_eq!(
        cast(DType::I64),
        "-9 3 200 -1 -9223372036854775808 -9223372036854775808 10000000000 -9223372036854775808"
    );
    assert_eq!(
        cast(DType::U64),
        "18446744073709551607 3 200 18446744073709551615 9223372036854775808 0 10000000000 9223372036854775808"
    );
    assert_eq!(cast(DType::Bool), "True True True True True True True True");
    let i = Tensor::new(&[5], &[-9i32, 3, 15, 200, -1]).unwrap();
    let cast = |to| i.cast(to, CastRules::default()).unwrap().to_texts().unwrap().join(" ");
    assert_eq!(cast(DType::I4), "7 3 -1 -8 -1");
    assert_eq!(cast(DType::U4), "7 3 15 8 15");
    assert_eq!(cast(DType::I2), "-1 -1 -1 0 -1");
}

#[test]
fn strings() {
    let x = [3.16f32, 1e20, 1e-7, 0.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 100000.0, 0.0001];
    let text = Tensor::new(&[10], &x).unwrap().cast(DType::String, CastRules::default()).unwrap();
    let expected = ["3.16", "1e+20", "1e-07", "0.1", "NaN", "INF", "-INF", "-0.0", "100000.0", "1e-04"];
    assert_eq!(text.to_texts().unwrap(), expected);
    let back = text.cast(DType::F32, CastRules::default()).unwrap();
    assert!(back.slice::<f32>().unwrap().iter().zip(&x).all(|(a, b)| same(*a, *b)));
    let half = Tensor::from_f64s(DType::F16, &[2], &[3.16, 0.1]).unwrap();
    assert_eq!(half.to_texts().unwrap(), ["3.16", "0.1"]);
    let read =
        |s: &str, to| Tensor::from_strings(&[1], vec![Arc::from(s)]).unwrap().cast(to, CastRules::default());
    assert_eq!(read("+inf", DType::F64).unwrap().to_f64s().unwrap(), [f64::INFINITY]);
    assert_eq!(read("1E8", DType::F16).unwrap().to_f64s().unwrap(), [f64::INFINITY]);
    assert_eq!(read("100.5", DType::I32).unwrap().to_i64s().unwrap(), [100]);
    assert_eq!(read("1", DType::Bool).unwrap().to_i64s().unwrap(), [1]);
    let error = read("Hello", DType::F32).unwrap_err();
    assert_eq!(error, TensorError::Text { text: "Hello".into(), at: 0, to: DType::F32 });
}

#[test]
fn integers_of_any_type() {
    assert_eq!(Tensor::from_i64s(DType::I4, &[3], &[-8, 7, 1]).unwrap().to_i64s().unwrap(), [-8, 7, 1]);
    assert!(Tensor::scalar(u64::MAX).to_i64s().is_err());
    assert!(Tensor::scalar(1.0f32).to_i64s().is_err());
}

#[test]
fn display() {
    let t = Tensor::new(&[2, 2], &[1.0f32, 2.5, 3.0, 4.0]).unwrap();
    assert_eq!(t.to_string(), "float[2,2] [[1, 2.5], [3, 4]]");
    let long = Tensor::new(&[1000], &(0..1000i64).collect::<Vec<_>>()).unwrap();
    assert_eq!(long.to_string(), "int64[1000] [0, 1, 2, ..., 997, 998, 999]");
    assert_eq!(Tensor::scalar(true as u8).reinterpret(DType::Bool).unwrap().to_string(), "bool[] True");
    assert_eq!(Tensor::zeros(DType::I4, &[0, 2]).unwrap().to_string(), "int4[0,2] []");
}
