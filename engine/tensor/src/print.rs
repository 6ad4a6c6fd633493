use crate::Tensor;
use std::fmt;

/// Elements shown in full; larger tensors show only the edges of each dimension.
const SHOWN: usize = 100;
/// Elements at each edge of a dimension that is cut.
const EDGE: usize = 3;

/// The type, the shape and the elements in nested brackets, long dimensions cut in the middle:
/// `float[2,2] [[1, 2], [3, 4]]`.
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype())?;
        for (i, size) in self.shape().iter().enumerate() {
            write!(f, "{}{size}", if i > 0 { "," } else { "" })?;
        }
        write!(f, "] ")?;
        let whole = self.len() <= SHOWN;
        print(self, whole, f)
    }
}

fn print(part: &Tensor, whole: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(&size) = part.shape().first() else {
        let text = part.to_texts().ok().and_then(|mut t| t.pop()).ok_or(fmt::Error)?;
        if part.as_strings().is_some() {
            return write!(f, "{text:?}");
        }
        return write!(f, "{}", text.strip_suffix(".0").unwrap_or(&text));
    };
    f.write_str("[")?;
    let cut = !whole && size > 2 * EDGE;
    let mut i = 0;
    while i < size {
        if i > 0 {
            f.write_str(", ")?;
        }
        if cut && i == EDGE {
            f.write_str("..., ")?;
            i = size - EDGE;
        }
        let row = part.slice_axis(0, i, 1, 1).and_then(|row| row.reshape(&part.shape()[1..]));
        print(&row.map_err(|_| fmt::Error)?, whole, f)?;
        i += 1;
    }
    f.write_str("]")
}
