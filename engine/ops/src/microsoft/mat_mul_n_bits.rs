//! [MatMulNBits](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits):
//! a product by weights of a few bits each.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes, dtype, transpose};
use crate::math::binary::{ADD, BITWISE_AND, DIV, MUL, SUB};
use crate::math::matmul::MatMul;
use crate::tensor::{concat::Concat, reshape::Reshape, slice::Slice, unsqueeze::Unsqueeze};
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
        // ONNX Runtime 1.32.
        vec![
            Case::new("four bits", MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(floats(
                    &[2, 20],
                    &[
                        0.505681098,
                        -0.0613986291,
                        0.406528533,
                        -0.989294946,
                        -0.658058763,
                        -0.999043047,
                        -0.88664186,
                        0.195407912,
                        -0.782974601,
                        0.356066287,
                        0.339755923,
                        2.02516103,
                        -1.39278901,
                        0.887902379,
                        -0.0894879624,
                        -0.0140297301,
                        -1.44986379,
                        -0.460193813,
                        0.743197262,
                        -0.0824783742,
                        0.0810543671,
                        -0.290716678,
                        1.15456975,
                        -0.0214725677,
                        -2.20041561,
                        -0.69207257,
                        -1.96879661,
                        -3.25143838,
                        -0.530115366,
                        1.33355987,
                        0.0471199043,
                        -1.17254567,
                        -0.940699875,
                        1.13061321,
                        0.157626629,
                        0.0479992405,
                        -0.0534617901,
                        0.0384002626,
                        0.805405676,
                        0.552567303,
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
                .input(floats(
                    &[6],
                    &[1.52897, 0.555247903, 0.389430314, 1.81675506, 1.56910586, 0.964332342],
                ))
                .expect(floats(
                    &[2, 3],
                    &[4.87769175, -2.74821615, -13.1402893, -7.15961075, 8.4970665, 32.5412407],
                ))
                .tolerance(1e-4),
            Case::new("zero points", MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(floats(
                    &[2, 20],
                    &[
                        0.916848063,
                        0.668898463,
                        0.110148586,
                        0.21548894,
                        -0.25200659,
                        -0.203600422,
                        0.0543036126,
                        1.5118295,
                        0.555687904,
                        -0.0584601276,
                        -0.579392076,
                        -0.6349985,
                        1.602705,
                        0.506687284,
                        0.0675505549,
                        -0.34618184,
                        -1.10905337,
                        -0.066861555,
                        0.873658061,
                        -0.392537236,
                        -0.227242589,
                        -0.221034348,
                        0.109594367,
                        -1.5930109,
                        -0.235398352,
                        -0.854395509,
                        0.884585023,
                        -0.77059865,
                        0.577046752,
                        1.52443743,
                        -0.313596249,
                        -0.601576269,
                        0.191432253,
                        -0.00202902756,
                        -0.993616343,
                        0.46091941,
                        2.01551604,
                        -0.258111984,
                        -0.202876195,
                        -1.04493201,
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
                .input(floats(
                    &[6],
                    &[0.298773587, 0.0401739404, 0.206592381, 0.0839697048, 0.503520846, 1.87087572],
                ))
                .input(codes(DType::U8, &[3], &[98, 45, 64]))
                .absent()
                .input(floats(&[3], &[-1.6861186, 0.387957096, -1.9466784]))
                .expect(floats(
                    &[2, 3],
                    &[-2.68266916, -2.01916242, 10.4532375, -1.93845475, 0.949154735, 0.601703644],
                ))
                .tolerance(1e-4),
            Case::new(
                "float zero points",
                MatMulNBits { K: 20, N: 3, accuracy_level: 0, bits: 4, block_size: 16 },
            )
            .input(floats(
                &[2, 20],
                &[
                    -1.40903413,
                    0.854639232,
                    0.706235051,
                    -0.149939001,
                    -1.71001112,
                    -0.37134853,
                    -0.678738296,
                    0.636840761,
                    2.25773048,
                    0.216930494,
                    -0.779311121,
                    -1.17055154,
                    -0.0560942814,
                    -0.176793188,
                    -1.15151918,
                    0.116355233,
                    -1.15091348,
                    1.11210728,
                    1.06265056,
                    1.08475125,
                    -0.474050462,
                    0.514520586,
                    -0.132069498,
                    -0.388812065,
                    -0.33914566,
                    -1.29971528,
                    -1.44386375,
                    0.794314802,
                    -0.191235408,
                    0.216424853,
                    1.00171041,
                    -1.73313248,
                    -0.784130096,
                    0.175334841,
                    0.392094791,
                    -0.37707445,
                    1.02917922,
                    0.210394934,
                    -1.21338212,
                    -0.930763781,
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
            .input(floats(
                &[6],
                &[0.536143959, 0.827287912, 0.304587692, 1.02688968, 1.28952658, 0.0481764823],
            ))
            .input(floats(
                &[6],
                &[0.88287425, -1.52937174, 0.00350815151, -0.649956167, -0.977145433, 0.853437662],
            ))
            .expect(floats(
                &[2, 3],
                &[-4.17118263, 28.667305, -36.2709694, -7.30608892, -12.8276434, -57.6363869],
            ))
            .tolerance(1e-4),
            Case::new("eight bits", MatMulNBits { K: 16, N: 2, accuracy_level: 0, bits: 8, block_size: 16 })
                .input(floats(
                    &[1, 2, 16],
                    &[
                        -0.518169701,
                        1.49830163,
                        -0.779839337,
                        0.386501998,
                        -0.227283001,
                        -0.754021823,
                        0.587675035,
                        -0.154982567,
                        0.603210568,
                        -0.0472915061,
                        -1.08581626,
                        -0.102069244,
                        0.0519551709,
                        0.958462954,
                        -0.906269014,
                        -0.0393298529,
                        -1.72187877,
                        0.651493073,
                        -1.08148301,
                        -1.80635953,
                        -0.0592168346,
                        1.105685,
                        -1.52444696,
                        -1.08803558,
                        -0.743274868,
                        -1.12949669,
                        0.37942788,
                        -0.807367444,
                        -0.721514761,
                        0.583305418,
                        -0.755514622,
                        0.432780087,
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
                .input(floats(&[2], &[1.33470905, 0.74696207]))
                .expect(floats(&[1, 2, 2], &[-346.165894, 87.7317963, -580.466553, 14.7774792]))
                .tolerance(1e-4),
            Case::new("two bits", MatMulNBits { K: 40, N: 2, accuracy_level: 0, bits: 2, block_size: 16 })
                .input(floats(
                    &[2, 40],
                    &[
                        0.820378184,
                        -0.961315572,
                        -1.39043581,
                        -0.354796648,
                        1.39112389,
                        -2.81956935,
                        0.526626766,
                        -1.07575524,
                        1.04036713,
                        -1.07792389,
                        -0.285415828,
                        -1.50627911,
                        -0.977257848,
                        1.3858391,
                        0.820578694,
                        -0.401668161,
                        -0.870172381,
                        -1.89380717,
                        -0.393656701,
                        -0.0309032518,
                        -0.0840543583,
                        -0.0937919244,
                        -1.1218096,
                        -0.066273883,
                        -0.0386733785,
                        1.29056203,
                        1.86673343,
                        -0.136989027,
                        -0.766305923,
                        -0.0649821311,
                        -0.607621253,
                        -0.742433786,
                        -0.0586501509,
                        -1.04330444,
                        0.606106758,
                        -0.10391555,
                        0.250008315,
                        -0.182940036,
                        -0.72725445,
                        -0.947959542,
                        -0.237276003,
                        -0.548760355,
                        0.233901337,
                        -0.00443170313,
                        -1.36230671,
                        0.0671212971,
                        -1.34286046,
                        -0.616477609,
                        -0.294353604,
                        -2.07527328,
                        0.0915074497,
                        0.150983348,
                        -0.158024192,
                        -0.424317271,
                        -0.373603672,
                        -0.976539493,
                        -0.269700378,
                        -0.552611828,
                        0.091685392,
                        -1.20413613,
                        0.235589907,
                        0.14321889,
                        -0.141562834,
                        -0.439204812,
                        0.552339911,
                        -1.66460168,
                        0.460453331,
                        0.243037462,
                        0.283376306,
                        0.383312583,
                        -0.653644383,
                        -0.259460062,
                        0.637058318,
                        0.430639237,
                        0.206712767,
                        -1.51432025,
                        0.537887096,
                        1.16947103,
                        1.00967145,
                        0.233878046,
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
                .input(floats(
                    &[6],
                    &[1.59402978, 0.103353418, 0.241521016, 1.26087058, 0.694458067, 0.425358355],
                ))
                .input(codes(DType::U8, &[2], &[155, 185]))
                .expect(floats(&[2, 2], &[5.69018412, -11.7932358, 18.383276, -11.8382282]))
                .tolerance(1e-4),
            Case::new("half", MatMulNBits { K: 16, N: 2, accuracy_level: 0, bits: 4, block_size: 16 })
                .input(
                    floats(
                        &[1, 16],
                        &[
                            0.110229492,
                            0.994628906,
                            -0.772460938,
                            -0.0560913086,
                            0.731445312,
                            0.583984375,
                            1.07128906,
                            0.396972656,
                            -0.309326172,
                            0.362304688,
                            -1.00292969,
                            -1.63964844,
                            0.580566406,
                            -0.0551452637,
                            0.308349609,
                            -1.69726562,
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
                    floats(&[2], &[0.0148773193, 0.756835938])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                )
                .expect(
                    floats(&[1, 2], &[0.201904297, -14.0703125])
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
    let [start, end, axis] = [vector(build, &[0])?, vector(build, &[count])?, vector(build, &[1])?];
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
        if inputs.get(4).is_some() {
            return Err(OpError::unsupported(
                "MatMulNBits with columns of the weights in another order (`g_idx`)",
            ));
        }
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
        let scales = shaped(build, scales, &[n, blocks, 1])?;
        let codes = cast(build, codes, to);
        let steps = binary(build, &SUB, codes, zero);
        let weights = binary(build, &MUL, steps, scales);
        let weights = shaped(build, weights, &[n, blocks * block])?;
        let weights = first_columns(build, weights, k)?;
        let weights = transpose(build, weights, &[1, 0]);
        let mut y = build.add(MatMul {}, &[a, weights]);
        if let Some(bias) = inputs.get(5) {
            y = binary(build, &ADD, y, bias);
        }
        Ok(Some(vec![y]))
    }
}
