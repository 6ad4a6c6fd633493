//! Looking at models, for all tools: what is wrong with one ([`check`]), what it comes to ([`info`]), inputs made
//! for the purpose ([`made`]), how far two outputs are apart ([`difference`]), and whether two models compute the
//! same ([`verify`]).

#![forbid(unsafe_code)]

pub mod bisect;
pub mod check;
pub mod difference;
pub mod info;
pub mod made;
pub mod modules;
pub mod page;
pub mod profile;
mod progress;

pub mod strain;
pub mod structure;
pub mod verify;
pub mod work;

pub use progress::Progress;

/// As `println!`, but a reader that has seen enough (`| head`) is no error, and neither is a closed output.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// An error and what led to it, outermost first, without what the next one says again.
pub fn told(error: &anyhow::Error) -> String {
    let all: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut parts: Vec<&str> = Vec::new();
    for (i, text) in all.iter().enumerate() {
        let said = parts.last().is_some_and(|last| last.contains(text.as_str()));
        let follows = all.get(i + 1).is_some_and(|next| next.contains(text.as_str()));
        if !said && !follows {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// `1 node`, `2 nodes`.
pub fn several(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `1234567` as `1.23 million`.
pub fn counted(n: u128) -> String {
    let (unit, by) = match n {
        0..10_000 => return n.to_string(),
        10_000..1_000_000 => ("thousand", 1e3),
        1_000_000..1_000_000_000 => ("million", 1e6),
        _ => ("billion", 1e9),
    };
    format!("{:.2} {unit}", n as f64 / by)
}

/// Bytes in the unit that fits.
pub fn size(n: u128) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_once() {
        let inner = anyhow::anyhow!("no such file");
        let error = inner.context("cannot read a.onnx: no such file").context("a.onnx").context("step 2");
        assert_eq!(told(&error), "step 2: cannot read a.onnx: no such file");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(counted(9_999), "9999");
        assert_eq!(counted(25_557_032), "25.56 million");
        assert_eq!(size(102_228_128), "102.2 MB");
        assert_eq!(several(1, "node"), "1 node");
    }
}
