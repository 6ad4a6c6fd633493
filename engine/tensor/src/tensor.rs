use crate::{Buffer, DType, Element, Shape, Strides, TensorError, element_count, row_major};
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// An n-dimensional array of one element type: shared, immutable, cheap to clone, possibly a strided view.
///
/// Packed types (4-bit and smaller, and the 6-bit floats) keep ONNX's packed layout and are always dense:
/// their views copy.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    strides: Strides,
    /// In elements from the start of the storage.
    offset: usize,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Bytes(Buffer),
    Strings(Arc<Vec<Arc<str>>>),
}

impl Tensor {
    /// A dense tensor of `values` in row-major order.
    ///
    /// # Errors
    /// When the number of values is not that of the shape, or there is no memory.
    pub fn new<T: Element>(shape: &[usize], values: &[T]) -> Result<Tensor, TensorError> {
        let mut out = TensorMut::zeroed(T::DTYPE, shape)?;
        let found = size_of_val(values);
        let target = out.as_bytes_mut();
        if target.len() != found {
            return Err(TensorError::Length {
                dtype: T::DTYPE,
                shape: shape.to_vec(),
                needed: target.len(),
                found,
            });
        }
        target.copy_from_slice(bytemuck::cast_slice(values));
        Ok(out.freeze())
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::new(&[], &[value]).expect("one value fills a scalar")
    }

    /// A dense bool tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_bools(shape: &[usize], values: &[bool]) -> Result<Tensor, TensorError> {
        let mut out = TensorMut::zeroed(DType::Bool, shape)?;
        let (needed, found) = (out.as_bytes_mut().len(), values.len());
        if needed != found {
            return Err(TensorError::Length { dtype: DType::Bool, shape: shape.to_vec(), needed, found });
        }
        out.as_bytes_mut().iter_mut().zip(values).for_each(|(byte, &value)| *byte = u8::from(value));
        Ok(out.freeze())
    }

    /// A dense string tensor.
    ///
    /// # Errors
    /// When the number of values is not that of the shape.
    pub fn from_strings(shape: &[usize], values: Vec<Arc<str>>) -> Result<Tensor, TensorError> {
        let count = element_count(shape)?;
        if count != values.len() {
            return Err(TensorError::Shape(format!(
                "shape {shape:?} needs {count} strings, but {} are there",
                values.len()
            )));
        }
        Ok(Tensor {
            dtype: DType::String,
            shape: shape.into(),
            strides: row_major(shape),
            offset: 0,
            storage: Storage::Strings(Arc::new(values)),
        })
    }

    /// A dense tensor over bytes in ONNX's little-endian layout, shared and not copied.
    ///
    /// # Errors
    /// When the number of bytes is not that of the shape, or the type is string.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Bytes) -> Result<Tensor, TensorError> {
        Tensor::from_buffer(dtype, shape, Buffer::borrowed(bytes))
    }

    /// A dense tensor over a buffer.
    ///
    /// # Errors
    /// When the number of bytes is not that of the shape, or the type is string.
    pub fn from_buffer(dtype: DType, shape: &[usize], buffer: Buffer) -> Result<Tensor, TensorError> {
        let needed = byte_len(dtype, shape)?;
        let found = buffer.as_bytes().len();
        if needed != found || dtype == DType::String {
            return Err(TensorError::Length { dtype, shape: shape.to_vec(), needed, found });
        }
        Ok(Tensor {
            dtype,
            shape: shape.into(),
            strides: row_major(shape),
            offset: 0,
            storage: Storage::Bytes(buffer),
        })
    }

    /// A dense tensor of zeros (empty strings for the string type).
    ///
    /// # Errors
    /// When the shape is too large for memory.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        if dtype == DType::String {
            let empty: Arc<str> = Arc::from("");
            return Tensor::from_strings(shape, vec![empty; element_count(shape)?]);
        }
        Ok(TensorMut::zeroed(dtype, shape)?.freeze())
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Steps between neighbours, in elements.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Bytes that the elements take when dense (for strings, their text).
    pub fn byte_len(&self) -> usize {
        match &self.storage {
            Storage::Bytes(_) => self.dtype.byte_len(self.len()).unwrap_or(usize::MAX),
            Storage::Strings(s) => s.iter().map(|s| s.len()).sum(),
        }
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 && stride != step {
                return self.is_empty();
            }
            step = step.wrapping_mul(size as isize);
        }
        true
    }

    /// Whether no one else holds the bytes and they may be written: an operator may then work in place.
    pub fn is_unique(&mut self) -> bool {
        match &mut self.storage {
            Storage::Bytes(b) => b.is_unique() && b.is_allocated(),
            Storage::Strings(s) => Arc::get_mut(s).is_some(),
        }
    }

    /// Gives the memory of the tensor's bytes back to the system where they are those of a mapped file, and says whether
    /// it did: for weights that were packed into another form and are hardly read again. The tensor stays as it is;
    /// whoever reads it has the file read again.
    pub fn release_pages(&self) -> bool {
        match &self.storage {
            Storage::Bytes(buffer) if !buffer.is_allocated() => {
                self.dense_bytes().is_some_and(crate::map::release)
            }
            _ => false,
        }
    }

    /// The elements of a dense tensor whose bytes are aligned for `T`; `None` otherwise.
    /// See [`Tensor::to_dense`] for a tensor that always has them.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if !T::reads(self.dtype) || !self.is_contiguous() {
            return None;
        }
        bytemuck::try_cast_slice(self.dense_bytes()?).ok()
    }

    /// The elements of a dense, aligned tensor, with an error that names the types otherwise.
    ///
    /// # Errors
    /// When the type is another one or the tensor is a view that is not dense.
    pub fn slice<T: Element>(&self) -> Result<&[T], TensorError> {
        if !T::reads(self.dtype) {
            return Err(TensorError::Type { expected: T::DTYPE, found: self.dtype });
        }
        self.as_slice().ok_or_else(|| {
            TensorError::Shape(format!("tensor {self:?} is not dense; make it so with to_dense first"))
        })
    }

    /// The elements in row-major order, copied only where they are strided or unaligned.
    ///
    /// # Errors
    /// When the type is another one or there is no memory for the copy.
    pub fn values<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if !T::reads(self.dtype) {
            return Err(TensorError::Type { expected: T::DTYPE, found: self.dtype });
        }
        if let Some(slice) = self.as_slice() {
            return Ok(Cow::Borrowed(slice));
        }
        let dense = self.to_dense()?;
        Ok(Cow::Owned(dense.slice::<T>()?.to_vec()))
    }

    /// The storage from the first element on, for strided loops: element `i` of the view lies at the sum of
    /// index times stride, counted from the second result. `None` if unaligned, packed or of another type.
    pub fn storage<T: Element>(&self) -> Option<(&[T], usize)> {
        match &self.storage {
            Storage::Bytes(b) if T::reads(self.dtype) => {
                let whole = b.as_bytes();
                let whole = &whole[..whole.len() - whole.len() % size_of::<T>()];
                Some((bytemuck::try_cast_slice(whole).ok()?, self.offset))
            }
            _ => None,
        }
    }

    /// The strings of a dense string tensor; `None` for other types or a view that is not dense.
    pub fn as_strings(&self) -> Option<&[Arc<str>]> {
        match &self.storage {
            Storage::Strings(s) if self.is_contiguous() => s.get(self.offset..self.offset + self.len()),
            _ => None,
        }
    }

    /// The bytes of a dense tensor in ONNX's layout, whatever their alignment; `None` for strings and views
    /// that are not dense.
    pub fn dense_bytes(&self) -> Option<&[u8]> {
        let Storage::Bytes(b) = &self.storage else { return None };
        if !self.is_contiguous() {
            return None;
        }
        let start = self.dtype.byte_len(self.offset)?;
        b.as_bytes().get(start..start + self.dtype.byte_len(self.len())?)
    }

    /// The same elements, dense and aligned; shares the bytes where they already are.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn to_dense(&self) -> Result<Tensor, TensorError> {
        if let Storage::Strings(all) = &self.storage {
            if self.is_contiguous() {
                return Ok(self.clone());
            }
            let picked = self.positions().map(|i| all[i].clone()).collect();
            return Tensor::from_strings(&self.shape, picked);
        }
        if self.is_dense() {
            return Ok(self.clone());
        }
        let mut out = TensorMut::zeroed(self.dtype, &self.shape)?;
        self.copy_to(&mut out);
        Ok(out.freeze())
    }

    /// Whether the elements lie dense and aligned, so that [`Tensor::slice`] succeeds and [`Tensor::to_dense`] shares.
    pub fn is_dense(&self) -> bool {
        match self.dense_bytes() {
            Some(bytes) => bytes.as_ptr().addr().is_multiple_of(self.unit().min(8)),
            None => matches!(self.storage, Storage::Strings(_)) && self.is_contiguous(),
        }
    }

    /// Bytes of an element, 1 for packed ones.
    fn unit(&self) -> usize {
        (self.dtype.bits() / 8).max(1)
    }

    /// Writes the elements, in their order, to a tensor of the same type and shape.
    ///
    /// # Panics
    /// When type or shape is another one, or the elements are strings.
    pub fn copy_to(&self, out: &mut TensorMut) {
        assert!(
            self.dtype == out.dtype && self.shape == out.shape,
            "{self:?} is copied to a tensor of {} {:?}",
            out.dtype,
            out.shape
        );
        let Storage::Bytes(buffer) = &self.storage else { panic!("strings have no bytes") };
        match self.dense_bytes() {
            Some(bytes) => out.as_bytes_mut().copy_from_slice(bytes),
            None => self.copy_strided(buffer.as_bytes(), self.unit(), out.as_bytes_mut()),
        }
    }

    /// Copies a strided view of `unit`-byte elements into dense `target`, whole rows where they are dense.
    fn copy_strided(&self, source: &[u8], unit: usize, target: &mut [u8]) {
        let (row, step) = match (self.shape.last(), self.strides.last()) {
            (Some(&n), Some(&s)) => (n, s),
            _ => (1, 1),
        };
        let outer = Tensor {
            shape: self.shape[..self.shape.len().saturating_sub(1)].into(),
            strides: self.strides[..self.strides.len().saturating_sub(1)].into(),
            ..self.clone()
        };
        if row == 0 {
            return;
        }
        for (at, out) in outer.positions().zip(target.chunks_exact_mut(row * unit)) {
            if step == 1 {
                out.copy_from_slice(&source[at * unit..(at + row) * unit]);
                continue;
            }
            let mut from = at as isize;
            for element in out.chunks_exact_mut(unit) {
                let start = from as usize * unit;
                element.copy_from_slice(&source[start..start + unit]);
                from += step;
            }
        }
    }

    /// The storage positions of the elements in row-major order.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let mut index = Shape::from_elem(0, self.rank());
        let mut at = self.offset as isize;
        let mut left = self.len();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            left -= 1;
            let here = at as usize;
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis] as isize;
                index[axis] = 0;
            }
            Some(here)
        })
    }

    /// The same elements in the same order under another shape; a view where strides can say so, as they can
    /// for a dense tensor, and where dimensions are split or only those that lie dense in each other are joined.
    ///
    /// # Errors
    /// When the number of elements differs, or there is no memory for a copy.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        let count = element_count(shape)?;
        if count != self.len() {
            return Err(TensorError::Shape(format!(
                "cannot reshape {:?} ({} elements) to {shape:?} ({count} elements)",
                self.shape.as_slice(),
                self.len()
            )));
        }
        let base = if self.is_contiguous() {
            self.clone()
        } else if let Some(strides) = self.strides_under(shape) {
            return Ok(Tensor { shape: shape.into(), strides, ..self.clone() });
        } else {
            self.to_dense()?
        };
        Ok(Tensor { shape: shape.into(), strides: row_major(shape), ..base })
    }

    /// The strides under another shape of as many elements, where there are such.
    fn strides_under(&self, shape: &[usize]) -> Option<Strides> {
        if self.is_empty() {
            return None;
        }
        let own: SmallVec<[(usize, isize); 6]> = self
            .shape
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(size, _)| *size != 1)
            .collect();
        let mut strides = Strides::from_elem(1, shape.len());
        let (mut from, mut to) = (0, 0);
        while to < shape.len() {
            if shape[to] == 1 {
                to += 1;
                continue;
            }
            // The fewest dimensions of either side that hold as many elements.
            let start = to;
            let (mut count, mut held) = (shape[to], own.get(from)?.0);
            (to, from) = (to + 1, from + 1);
            while count != held {
                if count < held {
                    count *= shape.get(to)?;
                    to += 1;
                } else {
                    let &(size, stride) = own.get(from)?;
                    if own[from - 1].1 != stride.wrapping_mul(size as isize) {
                        return None;
                    }
                    held *= size;
                    from += 1;
                }
            }
            let mut stride = own[from - 1].1;
            for axis in (start..to).rev() {
                strides[axis] = stride;
                stride = stride.wrapping_mul(shape[axis] as isize);
            }
        }
        Some(strides)
    }

    /// The dimensions in another order: dimension `i` of the result is `order[i]` of this tensor. A view.
    ///
    /// # Errors
    /// When `order` is not a permutation of the dimensions.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor, TensorError> {
        let mut seen = Shape::from_elem(0, self.rank());
        let valid = order.len() == self.rank()
            && order.iter().all(|&a| seen.get_mut(a).is_some_and(|s| std::mem::replace(s, 1) == 0));
        if !valid {
            return Err(TensorError::Shape(format!(
                "{order:?} is not a permutation of the {} dimensions of {:?}",
                self.rank(),
                self.shape.as_slice()
            )));
        }
        let base = self.unpacked()?;
        let view = Tensor {
            shape: order.iter().map(|&a| base.shape[a]).collect(),
            strides: order.iter().map(|&a| base.strides[a]).collect(),
            ..base
        };
        view.repacked(self.dtype)
    }

    /// `count` elements along `axis`, from `start` in steps of `step` (negative steps go backwards). A view.
    ///
    /// # Errors
    /// When the axis or the range lies outside.
    pub fn slice_axis(
        &self,
        axis: usize,
        start: usize,
        count: usize,
        step: isize,
    ) -> Result<Tensor, TensorError> {
        let size = *self.shape.get(axis).ok_or_else(|| {
            TensorError::Shape(format!("axis {axis} does not exist in shape {:?}", self.shape.as_slice()))
        })?;
        let last = count
            .checked_sub(1)
            .map_or(Some(0), |n| isize::try_from(n).ok()?.checked_mul(step)?.checked_add_unsigned(start));
        if count > 0 && (start >= size || last.is_none_or(|l| l < 0 || l as usize >= size)) {
            return Err(TensorError::Shape(format!(
                "slice of {count} from {start} by {step} leaves axis {axis} of size {size}"
            )));
        }
        let mut view = self.unpacked()?;
        if count > 0 {
            view.offset = (view.offset as isize + start as isize * view.strides[axis]) as usize;
        }
        view.shape[axis] = count;
        view.strides[axis] = view.strides[axis].wrapping_mul(step);
        view.repacked(self.dtype)
    }

    /// The tensor repeated to a larger shape by NumPy's broadcasting rule, as a view with zero strides.
    ///
    /// # Errors
    /// When the shape does not broadcast to the target.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        element_count(shape)?;
        if shape.len() < self.rank() || crate::broadcast(&self.shape, shape)?.as_slice() != shape {
            return Err(TensorError::Shape(format!(
                "shape {:?} does not broadcast to {shape:?}",
                self.shape.as_slice()
            )));
        }
        let mut view = self.unpacked()?;
        let lead = shape.len() - self.rank();
        view.strides = (0..shape.len())
            .map(|i| {
                if i < lead || (self.shape[i - lead] == 1 && shape[i] != 1) {
                    0
                } else {
                    view.strides[i - lead]
                }
            })
            .collect();
        view.shape = shape.into();
        view.repacked(self.dtype)
    }

    /// The same bits under another type of the same width, such as `U8` as `Bool`.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn reinterpret(&self, dtype: DType) -> Result<Tensor, TensorError> {
        if dtype.bits() != self.dtype.bits() || (dtype == DType::String) != (self.dtype == DType::String) {
            return Err(TensorError::Type { expected: dtype, found: self.dtype });
        }
        Ok(Tensor { dtype, ..self.clone() })
    }

    /// For packed types, one `U8` an element holding its raw code; other types as they are.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn unpacked(&self) -> Result<Tensor, TensorError> {
        if !self.dtype.is_packed() {
            return Ok(self.clone());
        }
        let bits = self.dtype.bits();
        let packed = match &self.storage {
            Storage::Bytes(b) => b.as_bytes(),
            Storage::Strings(_) => &[],
        };
        let mut out = TensorMut::zeroed(DType::U8, &self.shape)?;
        for (i, code) in out.as_bytes_mut().iter_mut().enumerate() {
            let at = (self.offset + i) * bits;
            let low = u16::from(packed[at / 8]);
            let high = packed.get(at / 8 + 1).map_or(0, |&b| u16::from(b));
            *code = (((low | high << 8) >> (at % 8)) & ((1 << bits) - 1)) as u8;
        }
        Ok(out.freeze())
    }

    /// The inverse of [`Tensor::unpacked`]: codes in `U8` become the packed type `dtype`; when `dtype` is not
    /// packed, the tensor as it is.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn repacked(&self, dtype: DType) -> Result<Tensor, TensorError> {
        if !dtype.is_packed() {
            return Ok(self.clone());
        }
        let codes = self.to_dense()?;
        let codes = codes.slice::<u8>()?;
        let bits = dtype.bits();
        let mut out = TensorMut::zeroed(dtype, &self.shape)?;
        let target = out.as_bytes_mut();
        for (i, &code) in codes.iter().enumerate() {
            let at = i * bits;
            let wide = (u16::from(code) & ((1 << bits) - 1)) << (at % 8);
            target[at / 8] |= wide as u8;
            if let Some(next) = target.get_mut(at / 8 + 1) {
                *next |= (wide >> 8) as u8;
            }
        }
        Ok(out.freeze())
    }

    /// The tensor for writing: in place where nobody else holds its bytes and it is dense, otherwise a copy.
    ///
    /// # Errors
    /// When the type is string, or there is no memory for the copy.
    pub fn into_mut(mut self) -> Result<TensorMut, TensorError> {
        let whole = self.offset == 0 && self.is_contiguous() && self.is_unique();
        if whole && let Storage::Bytes(mut buffer) = self.storage {
            buffer.set_len(byte_len(self.dtype, &self.shape)?);
            return Ok(TensorMut { dtype: self.dtype, shape: self.shape, buffer });
        }
        let dense = self.to_dense()?;
        let mut out = TensorMut::zeroed(self.dtype, &self.shape)?;
        let bytes =
            dense.dense_bytes().ok_or(TensorError::Type { expected: DType::U8, found: DType::String })?;
        out.as_bytes_mut().copy_from_slice(bytes);
        Ok(out)
    }
}

fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    dtype
        .byte_len(element_count(shape)?)
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape.as_slice())
    }
}

/// A dense tensor that is being written; [`TensorMut::freeze`] makes it a [`Tensor`].
pub struct TensorMut {
    dtype: DType,
    shape: Shape,
    buffer: Buffer,
}

impl TensorMut {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// When the shape is too large, there is no memory, or the type is string.
    pub fn zeroed(dtype: DType, shape: &[usize]) -> Result<TensorMut, TensorError> {
        TensorMut::over(dtype, shape, Buffer::brief(byte_len(dtype, shape)?)?)
    }

    /// A tensor over an allocated buffer of exactly the right length, keeping what the buffer holds.
    ///
    /// # Errors
    /// When the length is not that of the shape, the buffer is read-only, or the type is string.
    pub fn over(dtype: DType, shape: &[usize], mut buffer: Buffer) -> Result<TensorMut, TensorError> {
        let needed = byte_len(dtype, shape)?;
        let found = buffer.as_bytes().len();
        if needed != found || !buffer.is_allocated() || !buffer.is_unique() || dtype == DType::String {
            return Err(TensorError::Length { dtype, shape: shape.to_vec(), needed, found });
        }
        Ok(TensorMut { dtype, shape: shape.into(), buffer })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes in ONNX's layout.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_bytes_mut().expect("TensorMut holds allocated buffers alone")
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// When the type is another one.
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        if !T::reads(self.dtype) {
            return Err(TensorError::Type { expected: T::DTYPE, found: self.dtype });
        }
        Ok(bytemuck::cast_slice_mut(self.as_bytes_mut()))
    }

    /// The finished tensor; no copy.
    pub fn freeze(self) -> Tensor {
        Tensor {
            dtype: self.dtype,
            strides: row_major(&self.shape),
            shape: self.shape,
            offset: 0,
            storage: Storage::Bytes(self.buffer),
        }
    }
}
