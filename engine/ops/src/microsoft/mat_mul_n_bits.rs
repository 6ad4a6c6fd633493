//! [MatMulNBits](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits):
//! a product by weights of a few bits each.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes, dtype, transpose};
use crate::math::binary::{ADD, BITWISE_AND, DIV, MUL, SUB};
use crate::math::matmul::MatMul;
use crate::tensor::{concat::Concat, gather::Gather, reshape::Reshape, slice::Slice, unsqueeze::Unsqueeze};
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, Types, ValueId, shared};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    #[allow(non_snake_case, reason = "as ONNX Runtime spells its attributes")]
    /// The input times the transposed weights, which are codes of `bits` bits with a scale and perhaps a zero point for each
    /// `block_size` of a row.
    pub struct MatMulNBits {
        /// The length of a row of the weights.
        K: i64,
        /// How many rows they have.
        N: i64,
        /// How exact the product must be at least; here it always is exact.
        accuracy_level: i64 = 0,
        /// Bits of a code: 2, 4 or 8.
        bits: i64 = 4,
        /// Codes that share a scale.
        block_size: i64,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", FLOATS, "T1"),
        Param::one("B", BITS, "T2"),
        Param::one("scales", FLOATS, "T1"),
        Param::optional("zero_points", BITS.or(FLOATS), ""),
        Param::optional("g_idx", types::INT32, ""),
        Param::optional("bias", FLOATS, "T1"),
    ],
    outputs: &[Param::one("Y", FLOATS, "T1")],
};

/// The room of MatMulNBits.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "MatMulNBits",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| {
        let op = MatMulNBits::read(a)?;
        op.sizes()?;
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new(
                "columns of any block",
                MatMulNBits { K: 20, N: 2, accuracy_level: 0, bits: 4, block_size: 16 },
            )
            .input(floats(
                &[1, 20],
                &[
                    -0.8, -1.32, -0.25, 0.42, 1.14, 0.11, -0.55, -0.78, 0.75, 1.63, 0.27, -1.23, -0.96, 1.6,
                    0.2, -1.73, -0.08, -1.16, -0.63, -0.49,
                ],
            ))
            .input(codes(
                DType::U8,
                &[2, 2, 8],
                &[
                    245, 142, 231, 69, 92, 225, 47, 16, 95, 173, 31, 222, 87, 58, 139, 229, 226, 223, 78, 4,
                    199, 181, 197, 0, 9, 128, 85, 111, 238, 52, 135, 83,
                ],
            ))
            .input(floats(&[2, 2], &[0.5, 0.25, 0.125, 1.0]))
            .absent()
            .input(codes(DType::I32, &[20], &[0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]))
            .expect(floats(&[1, 2], &[-6.6475005, 15.832_5]))
            .tolerance(1e-5),
            Case::new("four bits", MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(floats(
                    &[2, 20],
                    &[
                        0.5056811,
                        -0.06139863,
                        0.40652853,
                        -0.98929495,
                        -0.65805876,
                        -0.99904305,
                        -0.88664186,
                        0.19540791,
                        -0.7829746,
                        0.3560663,
                        0.33975592,
                        2.025161,
                        -1.392789,
                        0.8879024,
                        -0.08948796,
                        -0.01402973,
                        -1.4498638,
                        -0.4601938,
                        0.74319726,
                        -0.082478374,
                        0.08105437,
                        -0.29071668,
                        1.1545697,
                        -0.021472568,
                        -2.2004156,
                        -0.6920726,
                        -1.9687966,
                        -3.2514384,
                        -0.53011537,
                        1.3335599,
                        0.047119904,
                        -1.1725457,
                        -0.9406999,
                        1.1306132,
                        0.15762663,
                        0.04799924,
                        -0.05346179,
                        0.038400263,
                        0.8054057,
                        0.5525673,
                    ],
                ))
                .input(codes(
                    DType::U8,
                    &[3, 2, 8],
                    &[
                        187, 68, 215, 78, 192, 213, 124, 158, 218, 47, 5, 111, 46, 226, 221, 96, 79, 181,
                        116, 24, 169, 186, 17, 198, 136, 211, 217, 172, 85, 94, 185, 16, 59, 132, 241, 193,
                        208, 48, 71, 68, 191, 137, 54, 191, 163, 229, 143, 32,
                    ],
                ))
                .input(floats(&[6], &[1.52897, 0.5552479, 0.3894303, 1.816755, 1.5691059, 0.96433234]))
                .expect(floats(
                    &[2, 3],
                    &[4.8776917, -2.7482162, -13.140289, -7.1596107, 8.4970665, 32.54124],
                ))
                .tolerance(1e-4),
            Case::new("zero points", MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(floats(
                    &[2, 20],
                    &[
                        0.91684806,
                        0.66889846,
                        0.11014859,
                        0.21548894,
                        -0.2520066,
                        -0.20360042,
                        0.054303613,
                        1.5118295,
                        0.5556879,
                        -0.058460128,
                        -0.5793921,
                        -0.6349985,
                        1.602705,
                        0.5066873,
                        0.067550555,
                        -0.34618184,
                        -1.1090534,
                        -0.066861555,
                        0.87365806,
                        -0.39253724,
                        -0.22724259,
                        -0.22103435,
                        0.10959437,
                        -1.5930109,
                        -0.23539835,
                        -0.8543955,
                        0.884585,
                        -0.77059865,
                        0.57704675,
                        1.5244374,
                        -0.31359625,
                        -0.60157627,
                        0.19143225,
                        -0.0020290276,
                        -0.99361634,
                        0.4609194,
                        2.015516,
                        -0.25811198,
                        -0.2028762,
                        -1.044932,
                    ],
                ))
                .input(codes(
                    DType::U8,
                    &[3, 2, 8],
                    &[
                        39, 8, 28, 80, 99, 79, 114, 184, 63, 116, 186, 14, 240, 254, 74, 227, 64, 234, 168,
                        63, 15, 100, 190, 58, 131, 31, 108, 8, 252, 128, 215, 31, 42, 45, 145, 220, 155, 123,
                        241, 47, 42, 171, 218, 68, 66, 134, 199, 72,
                    ],
                ))
                .input(floats(&[6], &[0.2987736, 0.04017394, 0.20659238, 0.083969705, 0.50352085, 1.8708757]))
                .input(codes(DType::U8, &[3], &[98, 45, 64]))
                .absent()
                .input(floats(&[3], &[-1.6861186, 0.3879571, -1.9466784]))
                .expect(floats(
                    &[2, 3],
                    &[-2.6826692, -2.0191624, 10.453238, -1.9384547, 0.94915473, 0.60170364],
                ))
                .tolerance(1e-4),
            Case::new(
                "float zero points",
                MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 },
            )
            .input(floats(
                &[2, 20],
                &[
                    -1.4090341,
                    0.85463923,
                    0.70623505,
                    -0.149939,
                    -1.7100111,
                    -0.37134853,
                    -0.6787383,
                    0.63684076,
                    2.2577305,
                    0.2169305,
                    -0.7793111,
                    -1.1705515,
                    -0.05609428,
                    -0.17679319,
                    -1.1515192,
                    0.11635523,
                    -1.1509135,
                    1.1121073,
                    1.0626506,
                    1.0847512,
                    -0.47405046,
                    0.5145206,
                    -0.1320695,
                    -0.38881207,
                    -0.33914566,
                    -1.2997153,
                    -1.4438637,
                    0.7943148,
                    -0.19123541,
                    0.21642485,
                    1.0017104,
                    -1.7331325,
                    -0.7841301,
                    0.17533484,
                    0.3920948,
                    -0.37707445,
                    1.0291792,
                    0.21039493,
                    -1.2133821,
                    -0.9307638,
                ],
            ))
            .input(codes(
                DType::U8,
                &[3, 2, 8],
                &[
                    34, 57, 106, 0, 177, 60, 213, 184, 85, 116, 171, 106, 53, 11, 141, 136, 196, 33, 16, 188,
                    186, 204, 3, 167, 245, 195, 119, 121, 104, 14, 184, 137, 133, 238, 187, 245, 21, 243,
                    144, 102, 142, 9, 238, 161, 10, 233, 115, 30,
                ],
            ))
            .input(floats(&[6], &[0.53614396, 0.8272879, 0.3045877, 1.0268897, 1.2895266, 0.048176482]))
            .input(floats(
                &[6],
                &[0.88287425, -1.5293717, 0.0035081515, -0.64995617, -0.97714543, 0.85343766],
            ))
            .expect(floats(&[2, 3], &[-4.1711826, 28.667305, -36.27097, -7.306089, -12.827643, -57.636387]))
            .tolerance(1e-4),
            Case::new("eight bits", MatMulNBits { K: 16, N: 2, accuracy_level: 0, bits: 8, block_size: 16 })
                .input(floats(
                    &[1, 2, 16],
                    &[
                        -0.5181697,
                        1.4983016,
                        -0.77983934,
                        0.386502,
                        -0.227283,
                        -0.7540218,
                        0.58767503,
                        -0.15498257,
                        0.60321057,
                        -0.047291506,
                        -1.0858163,
                        -0.102069244,
                        0.05195517,
                        0.95846295,
                        -0.906269,
                        -0.039329853,
                        -1.7218788,
                        0.6514931,
                        -1.081483,
                        -1.8063595,
                        -0.059216835,
                        1.105685,
                        -1.524447,
                        -1.0880356,
                        -0.74327487,
                        -1.1294967,
                        0.37942788,
                        -0.80736744,
                        -0.72151476,
                        0.5833054,
                        -0.7555146,
                        0.4327801,
                    ],
                ))
                .input(codes(
                    DType::U8,
                    &[2, 1, 16],
                    &[
                        161, 145, 255, 130, 90, 82, 114, 237, 95, 63, 148, 198, 242, 71, 227, 218, 96, 85,
                        68, 81, 226, 79, 126, 239, 175, 33, 18, 57, 221, 58, 80, 138,
                    ],
                ))
                .input(floats(&[2], &[1.334709, 0.7469621]))
                .expect(floats(&[1, 2, 2], &[-346.1659, 87.7318, -580.46655, 14.777479]))
                .tolerance(1e-4),
            Case::new("two bits", MatMulNBits { K: 40, N: 2, accuracy_level: 0, bits: 2, block_size: 16 })
                .input(floats(
                    &[2, 40],
                    &[
                        0.8203782,
                        -0.9613156,
                        -1.3904358,
                        -0.35479665,
                        1.3911239,
                        -2.8195693,
                        0.52662677,
                        -1.0757552,
                        1.0403671,
                        -1.0779239,
                        -0.28541583,
                        -1.5062791,
                        -0.97725785,
                        1.3858391,
                        0.8205787,
                        -0.40166816,
                        -0.8701724,
                        -1.8938072,
                        -0.3936567,
                        -0.030903252,
                        -0.08405436,
                        -0.093791924,
                        -1.1218096,
                        -0.06627388,
                        -0.03867338,
                        1.290562,
                        1.8667334,
                        -0.13698903,
                        -0.7663059,
                        -0.06498213,
                        -0.60762125,
                        -0.7424338,
                        -0.05865015,
                        -1.0433044,
                        0.60610676,
                        -0.10391555,
                        0.2500083,
                        -0.18294004,
                        -0.72725445,
                        -0.94795954,
                        -0.237276,
                        -0.54876035,
                        0.23390134,
                        -0.004431703,
                        -1.3623067,
                        0.0671213,
                        -1.3428605,
                        -0.6164776,
                        -0.2943536,
                        -2.0752733,
                        0.09150745,
                        0.15098335,
                        -0.15802419,
                        -0.42431727,
                        -0.37360367,
                        -0.9765395,
                        -0.26970038,
                        -0.5526118,
                        0.09168539,
                        -1.2041361,
                        0.2355899,
                        0.14321889,
                        -0.14156283,
                        -0.4392048,
                        0.5523399,
                        -1.6646017,
                        0.46045333,
                        0.24303746,
                        0.2833763,
                        0.38331258,
                        -0.6536444,
                        -0.25946006,
                        0.6370583,
                        0.43063924,
                        0.20671277,
                        -1.5143203,
                        0.5378871,
                        1.169471,
                        1.0096714,
                        0.23387805,
                    ],
                ))
                .input(codes(
                    DType::U8,
                    &[2, 3, 4],
                    &[
                        126, 36, 29, 70, 80, 84, 8, 218, 212, 174, 234, 240, 253, 96, 156, 195, 170, 202,
                        173, 99, 145, 50, 243, 229,
                    ],
                ))
                .input(floats(&[6], &[1.5940298, 0.10335342, 0.24152102, 1.2608706, 0.69445807, 0.42535836]))
                .input(codes(DType::U8, &[2], &[155, 185]))
                .expect(floats(&[2, 2], &[5.690184, -11.793236, 18.383276, -11.838228]))
                .tolerance(1e-4),
            Case::new("half", MatMulNBits { K: 16, N: 2, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(
                    floats(
                        &[1, 16],
                        &[
                            0.11022949,
                            0.9946289,
                            -0.77246094,
                            -0.05609131,
                            0.7314453,
                            0.5839844,
                            1.0712891,
                            0.39697266,
                            -0.30932617,
                            0.3623047,
                            -1.0029297,
                            -1.6396484,
                            0.5805664,
                            -0.055145264,
                            0.3083496,
                            -1.6972656,
                        ],
                    )
                    .cast(DType::F16, CastRules::default())
                    .expect("floats"),
                )
                .input(codes(
                    DType::U8,
                    &[2, 1, 8],
                    &[217, 19, 36, 14, 204, 12, 175, 203, 54, 58, 68, 194, 240, 193, 68, 183],
                ))
                .input(
                    floats(&[2], &[0.014877319, 0.75683594])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                )
                .expect(
                    floats(&[1, 2], &[0.2019043, -14.0703125])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                )
                .tolerance(1e-2),
        ]
    },
};

const FLOATS: Types = Types::tensors(&[DType::F32, DType::F16, DType::BF16]);
const BITS: Types = Types::tensors(&[DType::U8, DType::I32]);

fn vector(build: &mut Build<'_>, values: &[usize]) -> Result<ValueId, OpError> {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    Ok(build.constant(Tensor::new(&[values.len()], &values)?))
}

fn shaped(build: &mut Build<'_>, value: ValueId, shape: &[usize]) -> Result<ValueId, OpError> {
    let shape = vector(build, shape)?;
    Ok(build.add(Reshape { allowzero: true }, &[value, shape]))
}

fn first_columns(build: &mut Build<'_>, value: ValueId, count: usize) -> Result<ValueId, OpError> {
    first(build, value, count, 1)
}

/// The first `count` along an axis.
fn first(build: &mut Build<'_>, value: ValueId, count: usize, axis: usize) -> Result<ValueId, OpError> {
    let [start, end, axis] = [vector(build, &[0])?, vector(build, &[count])?, vector(build, &[axis])?];
    Ok(build.add(Slice {}, &[value, start, end, axis]))
}

/// The codes in bytes, lowest bits first, along a new last axis.
fn unpack(build: &mut Build<'_>, bytes: ValueId, bits: usize) -> Result<ValueId, OpError> {
    if bits == 8 {
        return Ok(bytes);
    }
    let mask = build.constant(Tensor::scalar((1u8 << bits) - 1));
    let last = build.constant(Tensor::new(&[1], &[-1i64])?);
    let mut parts = Vec::new();
    for at in (0..8).step_by(bits) {
        let divisor = build.constant(Tensor::scalar(1u8 << at));
        let shifted = if at == 0 { bytes } else { binary(build, &DIV, bytes, divisor) };
        let code = binary(build, &BITWISE_AND, shifted, mask);
        parts.push(build.add(Unsqueeze {}, &[code, last]));
    }
    Ok(build.add(Concat { axis: -1 }, &parts))
}

impl MatMulNBits {
    /// `K`, `N`, bits and block size.
    fn sizes(&self) -> Result<[usize; 4], OpError> {
        let fault = |what: String| OpError::new(what);
        if ![2, 4, 8].contains(&self.bits) {
            return Err(fault(format!("attribute `bits` is {}, but must be 2, 4 or 8", self.bits)));
        }
        // Every product of two of them fits a size.
        let size = |name: &str, value: i64| {
            usize::try_from(value)
                .ok()
                .filter(|v| (1..1 << 30).contains(v))
                .ok_or_else(|| fault(format!("attribute `{name}` is {value}, which is no size of a matrix")))
        };
        let block = size("block_size", self.block_size)?;
        if block % 8 != 0 {
            return Err(fault(format!("attribute `block_size` is {block}, but must be a multiple of 8")));
        }
        Ok([size("K", self.K)?, size("N", self.N)?, self.bits as usize, block])
    }
}

impl Op for MatMulNBits {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let [k, n, bits, block] = self.sizes()?;
        let blocks = k.div_ceil(block);
        let [a, b, scales] = [inputs.need(0)?, inputs.need(1)?, inputs.need(2)?];
        let Some(to) = dtype(build, a) else { return Ok(None) };
        if dtype(build, b).is_some_and(|d| d != DType::U8) {
            return Err(OpError::unsupported("MatMulNBits with weights packed in int32"));
        }
        let codes = unpack(build, b, bits)?;
        let codes = shaped(build, codes, &[n, blocks, block])?;
        let zero = match inputs.get(3) {
            None => build.constant(Tensor::from_f64s(to, &[], &[f64::from(1u32 << (bits - 1))])?),
            Some(zero) => match dtype(build, zero) {
                None => return Ok(None),
                Some(DType::U8) => {
                    let width = (blocks * bits).div_ceil(8);
                    let packed = shaped(build, zero, &[n, width])?;
                    let all = unpack(build, packed, bits)?;
                    let all = shaped(build, all, &[n, width * 8 / bits])?;
                    let zero = first_columns(build, all, blocks)?;
                    let zero = cast(build, zero, to);
                    shaped(build, zero, &[n, blocks, 1])?
                }
                Some(_) => {
                    let zero = cast(build, zero, to);
                    shaped(build, zero, &[n, blocks, 1])?
                }
            },
        };
        let codes = cast(build, codes, to);
        let weights = match inputs.get(4) {
            None => {
                let scales = shaped(build, scales, &[n, blocks, 1])?;
                let steps = binary(build, &SUB, codes, zero);
                let weights = binary(build, &MUL, steps, scales);
                let weights = shaped(build, weights, &[n, blocks * block])?;
                first_columns(build, weights, k)?
            }
            // Each column says to which block it belongs.
            Some(groups) => {
                let groups = first(build, groups, k, 0)?;
                let mut of_column = |table| -> Result<ValueId, OpError> {
                    let table = shaped(build, table, &[n, blocks])?;
                    Ok(build.add(Gather { axis: 1 }, &[table, groups]))
                };
                let scales = of_column(scales)?;
                let zero = if inputs.get(3).is_some() { of_column(zero)? } else { zero };
                let codes = shaped(build, codes, &[n, blocks * block])?;
                let codes = first_columns(build, codes, k)?;
                let steps = binary(build, &SUB, codes, zero);
                binary(build, &MUL, steps, scales)
            }
        };
        let weights = transpose(build, weights, &[1, 0]);
        let mut y = build.add(MatMul {}, &[a, weights]);
        if let Some(bias) = inputs.get(5) {
            y = binary(build, &ADD, y, bias);
        }
        Ok(Some(vec![y]))
    }
}
