use crate::DType;

/// How a conversion to `F8E8M0` rounds a number that is not a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoundMode {
    /// Away from zero; ONNX's default.
    #[default]
    Up,
    /// Towards zero.
    Down,
    /// To the nearest power of two, halves up.
    Nearest,
}

/// What an overflow becomes where it is not cut to the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Infinity,
    Nan,
    Largest,
}

/// The layout of a float narrower than 16 bits with a sign, an exponent and a mantissa.
#[derive(Debug, Clone, Copy)]
struct Layout {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    /// The code of the largest finite number.
    largest: u8,
    beyond: Beyond,
    /// No negative zero: its code means NaN.
    unsigned_zero: bool,
}

impl Layout {
    fn of(dtype: DType) -> Option<Layout> {
        let layout = |exponent, mantissa, bias, largest, beyond, unsigned_zero| {
            Some(Layout { exponent, mantissa, bias, largest, beyond, unsigned_zero })
        };
        match dtype {
            DType::F8E4M3FN => layout(4, 3, 7, 0x7e, Beyond::Nan, false),
            DType::F8E4M3FNUZ => layout(4, 3, 8, 0x7f, Beyond::Nan, true),
            DType::F8E5M2 => layout(5, 2, 15, 0x7b, Beyond::Infinity, false),
            DType::F8E5M2FNUZ => layout(5, 2, 16, 0x7f, Beyond::Nan, true),
            DType::F6E2M3 => layout(2, 3, 1, 0x1f, Beyond::Largest, false),
            DType::F6E3M2 => layout(3, 2, 3, 0x1f, Beyond::Largest, false),
            DType::F4E2M1 => layout(2, 1, 1, 0x07, Beyond::Largest, false),
            _ => None,
        }
    }

    fn sign_bit(&self) -> u8 {
        1 << (self.exponent + self.mantissa)
    }

    fn nan(&self, negative: bool) -> u8 {
        let sign = self.sign_bit();
        match self.beyond {
            // The types without NaN take negative zero for it, as ONNX's reference does.
            _ if self.unsigned_zero => sign,
            Beyond::Largest => sign,
            Beyond::Nan => 0x7f | if negative { sign } else { 0 },
            Beyond::Infinity => 0x7e | if negative { sign } else { 0 },
        }
    }

    fn decode(&self, code: u8) -> f32 {
        let sign = self.sign_bit();
        let negative = code & sign != 0;
        let magnitude = code & (sign - 1);
        if self.unsigned_zero && code == sign {
            return f32::NAN;
        }
        if magnitude > self.largest {
            return match self.beyond {
                Beyond::Infinity if magnitude == self.largest + 1 => {
                    f32::INFINITY.copysign(if negative { -1.0 } else { 1.0 })
                }
                _ => f32::NAN.copysign(if negative { -1.0 } else { 1.0 }),
            };
        }
        let field = i32::from(magnitude >> self.mantissa);
        let fraction = f32::from(magnitude & ((1 << self.mantissa) - 1));
        let unit = 1u32 << self.mantissa;
        let value = if field == 0 {
            fraction * 2f32.powi(1 - self.bias - self.mantissa as i32)
        } else {
            (unit as f32 + fraction) * 2f32.powi(field - self.bias - self.mantissa as i32)
        };
        if negative { -value } else { value }
    }

    fn encode(&self, x: f64, saturate: bool) -> u8 {
        let negative = x.is_sign_negative();
        if x.is_nan() {
            return self.nan(negative);
        }
        let sign = if negative { self.sign_bit() } else { 0 };
        let size = x.abs();
        let magnitude = if size >= 1e6 {
            u32::MAX
        } else {
            let exponent = (((size.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(1 - self.bias);
            let steps = (size * 2f64.powi(self.mantissa as i32 - exponent)).round_ties_even() as u32;
            // A normal number's leading bit adds one to the exponent field below it; a carry another.
            (((exponent + self.bias - 1) as u32) << self.mantissa) + steps
        };
        if magnitude > u32::from(self.largest) {
            return match self.beyond {
                _ if saturate => sign | self.largest,
                Beyond::Largest => sign | self.largest,
                Beyond::Nan => self.nan(negative),
                Beyond::Infinity => sign | (self.largest + 1),
            };
        }
        if magnitude == 0 && self.unsigned_zero { 0 } else { sign | magnitude as u8 }
    }
}

/// The values of the codes of a float type narrower than 16 bits; `None` for other types.
/// Codes that the type does not have repeat those of their low bits.
pub(crate) fn decode_table(dtype: DType) -> Option<[f32; 256]> {
    if dtype == DType::F8E8M0 {
        return Some(std::array::from_fn(|code| match code {
            0 => f32::from_bits(0x0040_0000),
            255 => f32::NAN,
            _ => f32::from_bits((code as u32) << 23),
        }));
    }
    let layout = Layout::of(dtype)?;
    let mask = layout.sign_bit() | (layout.sign_bit() - 1);
    Some(std::array::from_fn(|code| layout.decode(code as u8 & mask)))
}

/// The code of `x` in a float type narrower than 16 bits, rounded to nearest even (`F8E8M0`: by `round`).
/// `None` for other types.
pub(crate) fn encoder(dtype: DType, saturate: bool, round: RoundMode) -> Option<impl Fn(f64) -> u8> {
    let layout = Layout::of(dtype);
    if layout.is_none() && dtype != DType::F8E8M0 {
        return None;
    }
    Some(move |x: f64| match layout {
        Some(layout) => layout.encode(x, saturate),
        None => encode_e8m0(x as f32, saturate, round),
    })
}

/// ONNX defines this on the bits of a 32-bit float; the sign is lost.
fn encode_e8m0(x: f32, saturate: bool, round: RoundMode) -> u8 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as u8;
    if exponent == 0xff {
        return 0xff;
    }
    let fraction = bits & 0x007f_ffff;
    let up = match round {
        RoundMode::Up => fraction > 0,
        RoundMode::Down => false,
        // At half and above; below the smallest normal number only above half.
        RoundMode::Nearest => fraction > 0x0040_0000 || (fraction == 0x0040_0000 && exponent > 0),
    };
    if up && !(saturate && exponent == 0xfe) { exponent + 1 } else { exponent }
}
