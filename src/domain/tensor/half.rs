//! FP16 and BF16: from decimals in one rounding, and into FP32 without loss.

use std::cmp::Ordering;

/// A floating-point format of two bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Half {
    /// Bits of the significand, the hidden one included.
    precision: u16,
    /// Exponent of the smallest normal value.
    lowest: i32,
    /// Bits of positive infinity.
    infinity: u16,
}

/// IEEE 754 half precision.
pub const FP16: Half = Half { precision: 11, lowest: -14, infinity: 0x7C00 };

/// Brain floating point: the upper half of an FP32.
pub const BF16: Half = Half { precision: 8, lowest: -126, infinity: 0x7F80 };

impl Half {
    /// The value as an FP32, which holds every one of them.
    pub fn widen(self, bits: u16) -> f32 {
        let (sign, bits) = (bits & SIGN, bits & !SIGN);
        let fraction_bits = self.precision - 1;
        let (exponent, fraction) = (bits >> fraction_bits, bits & ((1 << fraction_bits) - 1));
        let magnitude = match bits.cmp(&self.infinity) {
            Ordering::Greater => f64::NAN,
            Ordering::Equal => f64::INFINITY,
            Ordering::Less => {
                let hidden = u16::from(exponent > 0) << fraction_bits;
                f64::from(hidden + fraction) * self.step(exponent.saturating_sub(1))
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "these values are all FP32's")]
        let magnitude = magnitude as f32;
        if sign == 0 { magnitude } else { -magnitude }
    }

    /// The nearest value to a decimal, of two equally near ones the even one; one of the literals
    /// `NaN`, `Infinity` and `-Infinity` is itself. None for another text, and for a number that
    /// only an infinity could stand for.
    pub fn read(self, text: &str) -> Option<u16> {
        let (sign, digits) = text.strip_prefix('-').map_or((0, text), |rest| (SIGN, rest));
        let magnitude = match digits {
            "NaN" => self.infinity | 1 << (self.precision - 2),
            "Infinity" => self.infinity,
            _ => self.nearest(digits).filter(|&bits| bits < self.infinity)?,
        };
        Some(sign | magnitude)
    }

    fn nearest(self, digits: &str) -> Option<u16> {
        let value: f64 = fast_float2::parse(digits).ok().filter(|value: &f64| value.is_finite())?;
        // Unbiased; those of zero and subnormal ones are below the lowest anyway.
        let exponent = i32::try_from(value.to_bits() >> 52).ok()? - 1023;
        let above = (exponent - self.lowest).max(0);
        let above = u16::try_from(above).ok().filter(|_| above <= 1 - 2 * self.lowest)?;
        // Dividing by a power of two is exact, and so is the rest.
        let steps = value / self.step(above);
        let (whole, rest) = (steps.trunc(), steps.fract());
        // An FP64 tells on which side of the middle a decimal is, unless it is the middle itself.
        let side = rest.total_cmp(&0.5).then_with(|| compare(digits, value));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2048")]
        let whole = whole as u16;
        let up = side.then(if whole % 2 == 1 { Ordering::Greater } else { Ordering::Less });
        // A carry goes into the exponent, as it should.
        Some((above << (self.precision - 1)) + whole + u16::from(up == Ordering::Greater))
    }

    /// What neighbours are apart, so many powers of two above the smallest normal value.
    fn step(self, above: u16) -> f64 {
        2_f64.powi(self.lowest - i32::from(self.precision) + 1 + i32::from(above))
    }
}

/// Compares a decimal without sign with a value that has at most 134 places, exactly.
fn compare(digits: &str, value: f64) -> Ordering {
    let exact = format!("{value:.134}");
    let (left, right) = (Decimal::of(digits), Decimal::of(&exact));
    left.scale.cmp(&right.scale).then_with(|| left.digits.cmp(&right.digits))
}

/// `0.d1 d2 d3 ... * 10^scale`, without zeros at either end of the digits.
struct Decimal {
    digits: Vec<u8>,
    scale: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, places) = number.split_once('.').unwrap_or((number, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(places.bytes()).collect();
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits.drain(..zeros);
        digits.truncate(digits.iter().rposition(|&digit| digit != b'0').map_or(0, |at| at + 1));
        let exponent: i64 = exponent.parse().unwrap_or_default();
        let length = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        Self { digits, scale: exponent.saturating_add(length(whole.len()) - length(zeros)) }
    }
}

const SIGN: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::{BF16, FP16, Half};

    #[test]
    fn every_value_comes_back_from_its_text() {
        for half in [FP16, BF16] {
            for bits in 0..=u16::MAX {
                let value = half.widen(bits);
                let text = zmij::Buffer::new().format(value).to_owned();
                let text = text.replace("inf", "Infinity");
                let back = half.read(&text).unwrap();
                assert!(back == bits || value.is_nan() && half.widen(back).is_nan(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn bf16_is_the_upper_half_of_an_fp32() {
        for bits in 0..=u16::MAX {
            let expected = f32::from_bits(u32::from(bits) << 16);
            let value = BF16.widen(bits);
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan());
        }
        assert_eq!(FP16.widen(0x3555).to_string(), "0.33325195");
        assert_eq!(FP16.widen(0x0001).to_string(), "0.000000059604645");
    }

    #[test]
    fn a_decimal_is_rounded_once_to_the_nearest_and_then_to_the_even_one() {
        let read = |half: Half, text: &str| half.read(text).map(|bits| format!("{bits:04x}"));
        for (half, text, bits) in [
            (FP16, "1", "3c00"),
            (FP16, "-0.0", "8000"),
            (FP16, "65504", "7bff"),
            (FP16, "65519.99999999999999999999999999", "7bff"),
            (FP16, "6.5504e4", "7bff"),
            (FP16, "1e-60", "0000"),
            // The middle between 1 and the next one, 1 + 2^-10, and just beside it: an FP64 cannot
            // tell these three apart.
            (FP16, "1.00048828125", "3c00"),
            (FP16, "1.000488281250000000000000000001", "3c01"),
            (FP16, "1.000488281249999999999999999999", "3c00"),
            (FP16, "1.00146484375", "3c02"),
            (FP16, "1.001464843749999999999999999999", "3c01"),
            (FP16, "100048828125000000000000000001e-29", "3c01"),
            // Half of the smallest one.
            (FP16, "2.98023223876953125e-8", "0000"),
            (FP16, "2.980232238769531250000000001e-8", "0001"),
            (FP16, "0.00006103515625", "0400"),
            (BF16, "1.00390625", "3f80"),
            (BF16, "1.00390625000000000000000000001", "3f81"),
            (BF16, "3.3895313892515355e38", "7f7f"),
            (FP16, "NaN", "7e00"),
            (FP16, "-Infinity", "fc00"),
            (BF16, "NaN", "7fc0"),
        ] {
            assert_eq!(read(half, text).as_deref(), Some(bits), "{text}");
        }
        for (half, text) in [(FP16, "65520"), (FP16, "1e400"), (BF16, "3.4e38"), (FP16, "x")] {
            assert_eq!(read(half, text), None, "{text}");
        }
    }
}
