//! JPEG, sequential and progressive, to the bit as libjpeg-turbo decodes it by default: its integer transform
//! ("islow"), its "fancy" upsampling, which the specification of ImageDecoder asks for, and its color tables.
//!
//! Follows [ITU-T T.81](https://www.w3.org/Graphics/JPEG/itu-t81.pdf). What is rare (arithmetic coding, 12 bits,
//! lossless, four components) is left to the decoder of the crate `image`.

use crate::Picture;

/// The place of the k-th coefficient of a scan in its block.
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Files have about ten scans; one with very many is made to keep a decoder busy.
const MOST_SCANS: usize = 256;

/// The picture, where the bytes are a JPEG of a common kind and whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<Picture> {
    let mut decoder = Decoder::default();
    decoder.segments(bytes)?;
    decoder.picture()
}

#[derive(Default)]
struct Decoder {
    quantization: [Option<[u16; 64]>; 4],
    /// Huffman tables: those of DC, then those of AC coefficients.
    codes: [[Option<Codes>; 4]; 2],
    width: usize,
    height: usize,
    progressive: bool,
    /// The largest sampling factors.
    most: [usize; 2],
    components: Vec<Component>,
    restart: usize,
    jfif: bool,
    adobe: Option<u8>,
}

struct Component {
    id: u8,
    /// Sampling factors, across and down.
    factors: [usize; 2],
    table: usize,
    /// The table as it was when the component's first scan came.
    quantization: Option<[u16; 64]>,
    /// Samples across and down.
    size: [usize; 2],
    /// Blocks across and down, those included that only fill the last units.
    blocks: [usize; 2],
    coefficients: Vec<i16>,
    /// The DC coefficient before.
    last: i32,
    /// Its tables in the current scan.
    dc: usize,
    ac: usize,
}

/// A Huffman code.
struct Codes {
    /// For the next 8 bits: the symbol and how many bits it has; 0 bits for a longer code.
    short: [(u8, u8); 256],
    /// For each length: the first code behind those of the length, and what makes an index of a code.
    limits: [(i32, i32); 17],
    symbols: Vec<u8>,
}

impl Codes {
    fn new(counts: &[u8], symbols: &[u8]) -> Option<Codes> {
        let mut codes = Codes { short: [(0, 0); 256], limits: [(0, 0); 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0i32, 0i32);
        for length in 1..=16 {
            let count = i32::from(counts[length - 1]);
            if code + count > 1 << length {
                return None;
            }
            codes.limits[length] = (code + count, index - code);
            for i in 0..if length <= 8 { count } else { 0 } {
                let symbol = *symbols.get((index + i) as usize)?;
                let first = ((code + i) << (8 - length)) as usize;
                codes.short[first..first + (1 << (8 - length))].fill((symbol, length as u8));
            }
            code = (code + count) << 1;
            index += count;
        }
        Some(codes)
    }
}

/// The bits of a scan, up to the next marker.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Zero bits that were made up behind the end.
    past: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(&byte), _) if byte != 0xff => {
                    self.at += 1;
                    byte
                }
                _ => {
                    self.past += 8;
                    0
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next `n` bits, at most 16, without taking them.
    fn peek(&mut self, n: u32) -> u32 {
        if self.count < n {
            self.fill();
        }
        ((self.held >> (self.count - n)) & ((1 << n) - 1)) as u32
    }

    /// Takes `n` bits; `None` behind the end.
    fn take(&mut self, n: u32) -> Option<u32> {
        if n == 0 {
            return Some(0);
        }
        let bits = self.peek(n);
        self.count -= n;
        (self.past <= self.count).then_some(bits)
    }

    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        let (symbol, length) = codes.short[self.peek(8) as usize];
        if length > 0 {
            self.take(length.into())?;
            return Some(symbol);
        }
        let ahead = self.peek(16) as i32;
        for length in 9..=16 {
            let code = ahead >> (16 - length);
            let (limit, shift) = codes.limits[length];
            if code < limit {
                self.take(length as u32)?;
                return codes.symbols.get(usize::try_from(code + shift).ok()?).copied();
            }
        }
        None
    }

    /// A number of `n` bits, of which the smaller half stands for negative ones.
    fn signed(&mut self, n: u32) -> Option<i32> {
        if n == 0 {
            return Some(0);
        }
        let bits = self.take(n)? as i32;
        Some(if bits < 1 << (n - 1) { bits - (1 << n) + 1 } else { bits })
    }

    /// Goes behind the next restart marker.
    fn restart(&mut self) -> Option<()> {
        (self.held, self.count, self.past) = (0, 0, 0);
        while !matches!(self.bytes.get(self.at..self.at + 2)?, [0xff, 0xd0..=0xd7]) {
            // Anything but filling before the marker is damage.
            if self.bytes[self.at] != 0xff {
                return None;
            }
            self.at += 1;
        }
        self.at += 2;
        Some(())
    }
}

/// What a scan brings: coefficients `first..=last`, down to bit `low`, which those of `high` come before.
#[derive(Clone, Copy)]
struct Scan {
    first: usize,
    last: usize,
    high: u32,
    low: u32,
}

impl Decoder {
    fn segments(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 2;
        if bytes.get(..2)? != [0xff, 0xd8] {
            return None;
        }
        let mut scans = 0;
        loop {
            // Markers may be filled up with 0xff; what stands between segments is passed over, as libjpeg does.
            while bytes.get(at).is_some_and(|&b| b != 0xff) {
                at += 1;
            }
            while bytes.get(at + 1) == Some(&0xff) {
                at += 1;
            }
            let Some(&marker) = bytes.get(at + 1) else { break };
            at += 2;
            match marker {
                0xd9 => break,
                0x00 | 0x01 | 0xd0..=0xd7 => continue,
                _ => {}
            }
            let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
            let segment = bytes.get(at + 2..at + length)?;
            at += length;
            match marker {
                0xdb => self.tables(segment)?,
                0xc4 => self.huffman(segment)?,
                0xc0..=0xc2 => self.frame(segment, marker == 0xc2)?,
                // Other codings, and heights that come later.
                0xc3 | 0xc5..=0xcf | 0xdc => return None,
                0xdd => self.restart = usize::from(u16::from_be_bytes([*segment.first()?, *segment.get(1)?])),
                0xe0 => self.jfif |= segment.starts_with(b"JFIF\0"),
                0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
                0xda => {
                    scans += 1;
                    if scans > MOST_SCANS {
                        return None;
                    }
                    at += self.scan(segment, bytes.get(at..)?)?;
                }
                _ => {}
            }
        }
        (scans > 0).then_some(())
    }

    fn tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let wide = usize::from(head >> 4);
            let values = rest.get(..64 * (1 + wide)).filter(|_| wide <= 1)?;
            let mut table = [0; 64];
            for (k, &place) in ZIGZAG.iter().enumerate() {
                table[usize::from(place)] = match wide {
                    0 => u16::from(values[k]),
                    _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
                };
            }
            *self.quantization.get_mut(usize::from(head & 15))? = Some(table);
            segment = &rest[values.len()..];
        }
        Some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let counts = rest.get(..16)?;
            let count = counts.iter().map(|&n| usize::from(n)).sum::<usize>();
            let symbols = rest.get(16..16 + count)?;
            let codes = Codes::new(counts, symbols)?;
            *self.codes.get_mut(usize::from(head >> 4))?.get_mut(usize::from(head & 15))? = Some(codes);
            segment = &rest[16 + count..];
        }
        Some(())
    }

    fn frame(&mut self, segment: &[u8], progressive: bool) -> Option<()> {
        let [8, h1, h0, w1, w0, count @ (1 | 3), ref rest @ ..] = *segment else { return None };
        if !self.components.is_empty() {
            return None;
        }
        self.progressive = progressive;
        (self.height, self.width) =
            (u16::from_be_bytes([h1, h0]).into(), u16::from_be_bytes([w1, w0]).into());
        let given = rest.get(..3 * usize::from(count))?;
        for part in given.chunks_exact(3) {
            let factors = [usize::from(part[1] >> 4), usize::from(part[1] & 15)];
            if self.width == 0 || self.height == 0 || factors.iter().any(|f| !(1..=4).contains(f)) {
                return None;
            }
            // Of a single component the factors say nothing.
            let factors = if count == 1 { [1, 1] } else { factors };
            self.most = std::array::from_fn(|i| self.most[i].max(factors[i]));
            self.components.push(Component {
                id: part[0],
                factors,
                table: part[2].into(),
                quantization: None,
                size: [0; 2],
                blocks: [0; 2],
                coefficients: Vec::new(),
                last: 0,
                dc: 0,
                ac: 0,
            });
        }
        let whole = [self.width, self.height];
        for component in &mut self.components {
            for (axis, &size) in whole.iter().enumerate() {
                let (factor, most) = (component.factors[axis], self.most[axis]);
                if most % factor != 0 {
                    return None;
                }
                component.size[axis] = (size * factor).div_ceil(most);
                component.blocks[axis] = size.div_ceil(8 * most) * factor;
            }
            let count = component.blocks[0] * component.blocks[1] * 64;
            component.coefficients.try_reserve_exact(count).ok()?;
            component.coefficients.resize(count, 0);
        }
        Some(())
    }

    /// Reads a scan and gives how many bytes it has.
    fn scan(&mut self, segment: &[u8], bytes: &[u8]) -> Option<usize> {
        let (&count, rest) = segment.split_first()?;
        let chosen = rest.get(..2 * usize::from(count))?;
        let [first, last, approximation] = *rest.get(chosen.len()..chosen.len() + 3)? else { return None };
        let scan = match self.progressive {
            true => Scan {
                first: first.into(),
                last: last.into(),
                high: u32::from(approximation >> 4),
                low: u32::from(approximation & 15),
            },
            false => Scan { first: 0, last: 63, high: 0, low: 0 },
        };
        let bands = if scan.first == 0 { !self.progressive || scan.last == 0 } else { count == 1 };
        if scan.first > scan.last || scan.last > 63 || scan.low > 13 || !bands {
            return None;
        }
        let mut order = Vec::new();
        for part in chosen.chunks_exact(2) {
            let index = self.components.iter().position(|c| c.id == part[0])?;
            let component = &mut self.components[index];
            component.dc = usize::from(part[1] >> 4);
            component.ac = usize::from(part[1] & 15);
            component.last = 0;
            if component.quantization.is_none() {
                component.quantization = Some(*self.quantization.get(component.table)?.as_ref()?);
            }
            order.push(index);
        }
        if order.is_empty() || (1..order.len()).any(|i| order[..i].contains(&order[i])) {
            return None;
        }
        let mut bits = Bits { bytes, at: 0, held: 0, count: 0, past: 0 };
        // Of one component a unit is one of its blocks, of several all the blocks that share a place.
        let alone = (order.len() == 1).then(|| &self.components[order[0]]);
        let units: [usize; 2] = std::array::from_fn(|axis| match alone {
            Some(component) => component.size[axis].div_ceil(8),
            None => [self.width, self.height][axis].div_ceil(8 * self.most[axis]),
        });
        let mut run = 0;
        for unit in 0..units[0] * units[1] {
            if self.restart > 0 && unit > 0 && unit % self.restart == 0 {
                bits.restart()?;
                run = 0;
                order.iter().for_each(|&i| self.components[i].last = 0);
            }
            let [x, y] = [unit % units[0], unit / units[0]];
            for &index in &order {
                let [across, down] = if order.len() == 1 { [1, 1] } else { self.components[index].factors };
                for block in 0..across * down {
                    let place = [x * across + block % across, y * down + block / across];
                    self.block(&mut bits, index, place, scan, &mut run)?;
                }
            }
        }
        Some(bits.at)
    }

    fn block(
        &mut self,
        bits: &mut Bits<'_>,
        index: usize,
        [x, y]: [usize; 2],
        scan: Scan,
        run: &mut u32,
    ) -> Option<()> {
        let component = &mut self.components[index];
        let at = (y * component.blocks[0] + x) * 64;
        let block = component.coefficients.get_mut(at..at + 64)?;
        let mut first = scan.first;
        if first == 0 {
            if scan.high > 0 {
                block[0] |= (bits.take(1)? << scan.low) as i16;
            } else {
                let size = bits.symbol(self.codes[0].get(component.dc)?.as_ref()?)?;
                if size > 15 {
                    return None;
                }
                component.last = component.last.wrapping_add(bits.signed(size.into())?);
                block[0] = (component.last << scan.low) as i16;
            }
            first = 1;
        }
        if scan.last == 0 {
            return Some(());
        }
        let codes = self.codes[1].get(component.ac)?.as_ref()?;
        if scan.high > 0 {
            return refine(bits, block, codes, Scan { first, ..scan }, run);
        }
        if *run > 0 {
            *run -= 1;
            return Some(());
        }
        let mut k = first;
        while k <= scan.last {
            let symbol = bits.symbol(codes)?;
            let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (size, zeros) {
                (0, 15) => k += 16,
                (0, zeros) => {
                    // The end of this block, and of so many more.
                    if self.progressive {
                        *run = (1 << zeros) - 1 + bits.take(zeros as u32)?;
                    }
                    break;
                }
                _ => {
                    k += zeros;
                    let value = bits.signed(size)?;
                    *block.get_mut(usize::from(*ZIGZAG.get(k)?))? = (value << scan.low) as i16;
                    k += 1;
                }
            }
        }
        Some(())
    }

    fn picture(self) -> Option<Picture> {
        let planes: Vec<Vec<u8>> = self
            .components
            .iter()
            .map(|c| c.plane(self.most, [self.width, self.height]))
            .collect::<Option<_>>()?;
        let count = self.width * self.height;
        let mut samples = Vec::new();
        let [first, second, third] = &planes[..] else {
            samples.extend_from_slice(planes.first()?);
            return Some(Picture { gray: true, samples });
        };
        let ids = [self.components[0].id, self.components[1].id, self.components[2].id];
        let plain = match (self.jfif, self.adobe) {
            (true, _) => false,
            (false, Some(transform)) => transform == 0,
            (false, None) => ids == *b"RGB",
        };
        samples.try_reserve_exact(3 * count).ok()?;
        for ((&a, &b), &c) in first.iter().zip(second).zip(third) {
            samples.extend(if plain { [a, b, c] } else { color(a, b, c) });
        }
        Some(Picture { gray: false, samples })
    }
}

/// A scan that brings one more bit of coefficients: those that are not zero take it as they come by.
fn refine(bits: &mut Bits<'_>, block: &mut [i16], codes: &Codes, scan: Scan, run: &mut u32) -> Option<()> {
    let bit = 1i16 << scan.low;
    let correct = |bits: &mut Bits<'_>, value: &mut i16| -> Option<()> {
        if bits.take(1)? == 1 && *value & bit == 0 {
            *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
        }
        Some(())
    };
    let mut k = scan.first;
    if *run == 0 {
        while k <= scan.last {
            let symbol = bits.symbol(codes)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            let mut fresh = 0;
            match (size, zeros) {
                (0, 15) => {}
                (0, zeros) => {
                    *run = (1 << zeros) + bits.take(zeros.into())?;
                    break;
                }
                (1, _) => fresh = if bits.take(1)? == 1 { bit } else { -bit },
                _ => return None,
            }
            while k <= scan.last {
                let value = &mut block[usize::from(ZIGZAG[k])];
                k += 1;
                if *value != 0 {
                    correct(bits, value)?;
                } else if zeros == 0 {
                    *value = fresh;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
    }
    if *run > 0 {
        for &place in ZIGZAG.get(k..=scan.last).unwrap_or_default() {
            let value = &mut block[usize::from(place)];
            if *value != 0 {
                correct(bits, value)?;
            }
        }
        *run -= 1;
    }
    Some(())
}

impl Component {
    /// The samples of the component, brought to the size of the picture.
    fn plane(&self, most: [usize; 2], [width, height]: [usize; 2]) -> Option<Vec<u8>> {
        let quantization = self.quantization.as_ref()?;
        let stride = self.blocks[0] * 8;
        let mut samples = Vec::new();
        samples.try_reserve_exact(self.coefficients.len()).ok()?;
        samples.resize(self.coefficients.len(), 0u8);
        for (i, block) in self.coefficients.chunks_exact(64).enumerate() {
            let (x, y) = (i % self.blocks[0] * 8, i / self.blocks[0] * 8);
            let values = inverse_transform(block, quantization);
            for (row, values) in values.chunks_exact(8).enumerate() {
                samples[(y + row) * stride + x..][..8].copy_from_slice(values);
            }
        }
        let rows: Vec<&[u8]> =
            samples.chunks_exact(stride).take(self.size[1]).map(|r| &r[..self.size[0]]).collect();
        let [across, down] = [most[0] / self.factors[0], most[1] / self.factors[1]];
        let mut plane = Vec::new();
        // A row may come out longer than the picture is wide before it is cut.
        plane.try_reserve_exact(width * height + across).ok()?;
        let smooth = self.size[0] > 2;
        for (y, row) in rows.iter().enumerate() {
            for half in 0..down.min(height - y * down) {
                // The row that is next nearest to the output's row; the first and the last are their own neighbours.
                let other =
                    if half == 0 { rows[y.saturating_sub(1)] } else { rows[(y + 1).min(rows.len() - 1)] };
                match (across, down) {
                    (2, 1) if smooth => double(row, &mut plane),
                    (2, 2) if smooth => double_both(row, other, &mut plane),
                    (1, 2) => {
                        let bias = if half == 0 { 1 } else { 2 };
                        let mixed = row
                            .iter()
                            .zip(other)
                            .map(|(&a, &b)| (u16::from(a) * 3 + u16::from(b) + bias) >> 2);
                        plane.extend(mixed.map(|v| v as u8));
                    }
                    _ => plane.extend(row.iter().flat_map(|&v| std::iter::repeat_n(v, across))),
                }
                plane.truncate((y * down + half + 1) * width);
            }
        }
        Some(plane)
    }
}

/// Each sample becomes two, which lie a quarter of the way towards its neighbours.
fn double(row: &[u8], plane: &mut Vec<u8>) {
    let at = |i: usize| u16::from(row[i]);
    let last = row.len() - 1;
    for i in 0..=last {
        plane.push(if i == 0 { row[0] } else { ((at(i) * 3 + at(i - 1) + 1) >> 2) as u8 });
        plane.push(if i == last { row[last] } else { ((at(i) * 3 + at(i + 1) + 2) >> 2) as u8 });
    }
}

/// As [`double`], and a quarter of the way towards the other row.
fn double_both(row: &[u8], other: &[u8], plane: &mut Vec<u8>) {
    let at = |i: usize| u16::from(row[i]) * 3 + u16::from(other[i]);
    let last = row.len() - 1;
    for i in 0..=last {
        let before = if i == 0 { at(0) } else { at(i - 1) };
        let after = if i == last { at(last) } else { at(i + 1) };
        plane.push(((at(i) * 3 + before + 8) >> 4) as u8);
        plane.push(((at(i) * 3 + after + 7) >> 4) as u8);
    }
}

/// Red, green and blue from brightness and color differences, in 16 bits behind the point.
fn color(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let cut = |v: i32| v.clamp(0, 255) as u8;
    [
        cut(y + ((91881 * cr + half) >> 16)),
        cut(y + ((-22554 * cb - 46802 * cr + half) >> 16)),
        cut(y + ((116130 * cb + half) >> 16)),
    ]
}

/// The inverse cosine transform of a block by Loeffler, Ligtenberg and Moschytz, with 13 bits behind the point and two
/// between the passes.
fn inverse_transform(block: &[i16], quantization: &[u16; 64]) -> [u8; 64] {
    let mut values = [0i64; 64];
    for ((to, &coefficient), &factor) in values.iter_mut().zip(block).zip(quantization) {
        *to = i64::from(coefficient) * i64::from(factor);
    }
    for column in 0..8 {
        line(&mut values, column, 8, 11);
    }
    for row in 0..8 {
        line(&mut values, row * 8, 1, 18);
    }
    values.map(|v| (v + 128).clamp(0, 255) as u8)
}

/// One line of eight values, `step` apart.
fn line(values: &mut [i64; 64], at: usize, step: usize, shift: u32) {
    let x: [i64; 8] = std::array::from_fn(|i| values[at + i * step]);
    let z = (x[2] + x[6]) * 4433;
    let (low, high) = (z - x[6] * 15137, z + x[2] * 6270);
    let (sum, difference) = ((x[0] + x[4]) << 13, (x[0] - x[4]) << 13);
    let even = [sum + high, difference + low, difference - low, sum - high];
    let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
    let z5 = (z3 + z4) * 9633;
    let (z1, z2) = (z1 * -7373, z2 * -20995);
    let (z3, z4) = (z3 * -16069 + z5, z4 * -3196 + z5);
    let odd = [x[1] * 12299 + z1 + z4, x[3] * 25172 + z2 + z3, x[5] * 16819 + z2 + z4, x[7] * 2446 + z1 + z3];
    let round = |v: i64| (v + (1 << (shift - 1))) >> shift;
    for i in 0..4 {
        values[at + i * step] = round(even[i] + odd[i]);
        values[at + (7 - i) * step] = round(even[i] - odd[i]);
    }
}
