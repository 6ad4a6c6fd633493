//! [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html): other sizes along any dimensions; and
//! [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html), its name before opset 10.

use crate::draft::constant_of;
use crate::math::variadic::{Function, Variadic};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attribute, Call, Dim, Dims, Graph, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown,
    ValueId, axis_index, kernel, shared,
};
use oxidane_kernels::resize::{
    AspectRatio, Coordinates, NearestMode, ResizeAttributes, ResizeAxis, ResizeMode, ResizeTarget, resize,
    resize_axes,
};
use oxidane_tensor::{DType, Tensor, element_count};
use std::sync::Arc;

attributes! {
    /// The input resized along `axes`, by factors or to sizes.
    pub struct Resize {
        /// Whether shrinking widens the filter.
        antialias: bool = false,
        /// The dimensions that `roi`, `scales` and `sizes` speak of; all where absent.
        axes: Option<Vec<i64>>,
        coordinate_transformation_mode: String = "half_pixel".into(),
        cubic_coeff_a: f32 = -0.75,
        exclude_outside: bool = false,
        extrapolation_value: f32 = 0.0,
        keep_aspect_ratio_policy: String = "stretch".into(),
        mode: String = "nearest".into(),
        nearest_mode: String = "round_prefer_floor".into(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::PLAIN, "T1"),
        Param::optional("roi", types::REGION, "T2"),
        Param::optional("scales", types::FLOAT32, ""),
        Param::optional("sizes", types::INT64, ""),
    ],
    outputs: &[Param::one("Y", types::PLAIN, "T1")],
};

/// Two factors, height and width, become one for each of four dimensions.
const ALL_SCALES: Step = Step {
    to: 7,
    up: |d| {
        let (height, width) = (d.take::<f32>("height_scale")?, d.take::<f32>("width_scale")?);
        match (height, width) {
            (Some(h), Some(w)) => {
                d.attributes.set("scales", vec![1.0, 1.0, h, w]);
                Ok(())
            }
            _ => Err(OpError::new("attributes `height_scale` and `width_scale` are required but missing")),
        }
    },
    down: |d| match d.take::<Vec<f32>>("scales")?.as_deref() {
        Some(&[1.0, 1.0, h, w]) => {
            d.attributes.set("height_scale", h);
            d.attributes.set("width_scale", w);
            Ok(())
        }
        other => Err(OpError::new(format!("the scales {other:?} are not those of height and width alone"))
            .help("export to opset 7 or later")),
    },
};

/// The factors become an input.
const SCALES_INPUT: Step = Step {
    to: 9,
    up: |d| {
        let scales: Vec<f32> =
            d.take("scales")?.ok_or_else(|| OpError::new("attribute `scales` is required but missing"))?;
        let scales = d.add_constant(Tensor::new(&[scales.len()], &scales)?);
        d.set_input(1, Some(scales));
        Ok(())
    },
    down: |d| {
        let scales = d.constant(1).ok_or_else(|| {
            OpError::new("the scales are computed, but this opset wants a constant attribute")
                .help("export to opset 9 or later")
        })?;
        d.attributes.set("scales", scales.values::<f32>()?.into_owned());
        d.drop_input(1);
        Ok(())
    },
};

/// The operator takes its present name.
const NAME: Step = Step {
    to: 10,
    up: |d| {
        "Resize".clone_into(&mut d.name);
        // It only grows.
        d.attributes.set("nearest_mode", Attribute::string("floor"));
        Ok(())
    },
    down: |d| {
        "Upsample".clone_into(&mut d.name);
        Ok(())
    },
};

/// The room of Resize; in the opsets before 10 it stands for Upsample, so that a model that came with that name
/// can go back.
pub static ROOM: Room = Room {
    domain: "",
    name: "Resize",
    since: &[1, 7, 9, 10, 11, 13, 18, 19],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Resize::read(a)?)),
    steps: &[
        ALL_SCALES,
        SCALES_INPUT,
        NAME,
        Step { to: 11, up: with_modes, down: without_modes },
        Step { to: 13, up: without_fillers, down: with_fillers },
        Step {
            to: 18,
            up: |_| Ok(()),
            down: |d| {
                d.drop_default("antialias", false)?;
                d.drop_default("keep_aspect_ratio_policy", "stretch".to_owned())?;
                let all: Option<Vec<i64>> = d.rank(0).map(|rank| (0..rank as i64).collect());
                d.drop_default("axes", all.unwrap_or_default())
            },
        },
        Step {
            to: 19,
            up: |_| Ok(()),
            down: |d| match d.attributes.value::<String>("coordinate_transformation_mode")?.as_deref() {
                Some("half_pixel_symmetric") => Err(OpError::new(
                    "coordinate_transformation_mode `half_pixel_symmetric` cannot be expressed in this opset",
                )
                .help("export to opset 19 or later")),
                _ => Ok(()),
            },
        },
    ],
    cases,
};

/// The room of Upsample, which is read as Resize.
pub static UPSAMPLE: Room = Room {
    name: "Upsample",
    since: &[1, 7, 9, 10],
    read: |a| match a.get("coordinate_transformation_mode") {
        Some(_) => Ok(shared(Resize::read(a)?)),
        // A call of opset 9 and before has become a Resize on the way here.
        None => Err(OpError::new("Upsample does not exist in opset 10 and later").help("use Resize")),
    },
    steps: &[ALL_SCALES, SCALES_INPUT, NAME],
    cases: || {
        crate::with_cases!();
        let op = Resize {
            coordinate_transformation_mode: "asymmetric".into(),
            nearest_mode: "floor".into(),
            ..Resize::plain("nearest")
        };
        // The specification's example of Upsample.
        vec![
            Case::new("nearest", op)
                .input(floats(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]))
                .absent()
                .input(floats(&[4], &[1.0, 1.0, 2.0, 3.0]))
                .expect(floats(
                    &[1, 1, 4, 6],
                    &[
                        1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0,
                        4.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0,
                    ],
                )),
        ]
    },
    ..ROOM
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let plain = Resize::plain;
    let count = |shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        floats(shape, &(1..=n).map(|i| i as f32).collect::<Vec<_>>())
    };
    let mut cases = vec![
        // The specification's examples: shrinking by 0.6, and growing to sizes.
        Case::new("linear", plain("linear"))
            .input(count(&[1, 1, 2, 4]))
            .absent()
            .input(floats(&[4], &[1.0, 1.0, 0.6, 0.6]))
            .expect(floats(&[1, 1, 1, 2], &[2.6666665, 4.3333335])),
        Case::new("nearest", plain("nearest"))
            .input(count(&[1, 1, 2, 4]))
            .absent()
            .input(floats(&[4], &[1.0, 1.0, 0.6, 0.6]))
            .expect(floats(&[1, 1, 1, 2], &[1.0, 3.0])),
        Case::new(
            "corners",
            Resize { coordinate_transformation_mode: "align_corners".into(), ..plain("linear") },
        )
        .input(count(&[1, 1, 2, 2]))
        .absent()
        .input(floats(&[4], &[1.0, 1.0, 2.0, 2.0]))
        .expect(floats(
            &[1, 1, 4, 4],
            &[
                1.0, 1.3333334, 1.6666666, 2.0, 1.6666666, 2.0, 2.3333333, 2.6666667, 2.3333333, 2.6666667,
                3.0, 3.3333333, 3.0, 3.3333333, 3.6666667, 4.0,
            ],
        )),
        Case::new("sizes", Resize { axes: Some(vec![-1]), ..plain("nearest") })
            .input(count(&[1, 2]))
            .absent()
            .absent()
            .input(ints(&[1], &[4]))
            .expect(floats(&[1, 4], &[1.0, 1.0, 2.0, 2.0])),
        Case::new(
            "not larger",
            Resize {
                axes: Some(vec![1, 2]),
                keep_aspect_ratio_policy: "not_larger".into(),
                ..plain("nearest")
            },
        )
        .input(noise(&[1, 2, 4], 1))
        .absent()
        .absent()
        .input(ints(&[2], &[6, 8])),
        Case::new("cubic", Resize { antialias: true, exclude_outside: true, ..plain("cubic") })
            .input(noise(&[1, 1, 5, 4], 2))
            .absent()
            .input(floats(&[4], &[1.0, 1.0, 0.6, 1.5])),
        Case::new(
            "crop",
            Resize {
                coordinate_transformation_mode: "tf_crop_and_resize".into(),
                extrapolation_value: 10.0,
                ..plain("linear")
            },
        )
        .input(noise(&[1, 1, 4, 4], 3))
        .input(floats(&[8], &[0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 1.2, 1.7]))
        .absent()
        .input(ints(&[4], &[1, 1, 3, 3])),
        Case::new("text", plain("nearest"))
            .input(Tensor::from_strings(&[2], vec!["a".into(), "b".into()]).expect("two strings"))
            .absent()
            .input(floats(&[1], &[2.0]))
            .expect(
                Tensor::from_strings(&[4], vec!["a".into(), "a".into(), "b".into(), "b".into()])
                    .expect("four strings"),
            ),
    ];
    for (name, dtype) in [
        ("double", DType::F64),
        ("float16", DType::F16),
        ("bfloat16", DType::BF16),
        ("uint8", DType::U8),
        ("int64", DType::I64),
    ] {
        cases.push(
            Case::new(name, plain("linear"))
                .input(noise_of(dtype, &[1, 3, 4], 4))
                .absent()
                .input(floats(&[3], &[1.0, 2.0, 0.5])),
        );
    }
    cases
}

/// Opset 10 has the mode alone: positions are not centred. Its text leaves open how `nearest` rounds; as everyone who
/// runs it does, growing rounds down and shrinking up. Where a call may do both, growing comes first, then shrinking.
fn with_modes(draft: &mut Draft<'_>) -> Result<(), OpError> {
    // Upsample's first opset says bilinear for linear.
    if draft.attributes.value::<String>("mode")?.as_deref() == Some("bilinear") {
        draft.attributes.set("mode", Attribute::string("linear"));
    }
    draft.attributes.set("coordinate_transformation_mode", Attribute::string("asymmetric"));
    let linear = draft.attributes.value::<String>("mode")?.as_deref() == Some("linear");
    let mut scales = draft.input(1);
    let grows_alone = draft.attributes.get("nearest_mode").is_some();
    let (grows, shrinks) = match scales {
        Some(scales) if !linear && !grows_alone => directions(draft.graph(), scales)?,
        _ => (true, false),
    };
    let rounding = |shrinks| if shrinks { "ceil" } else { "floor" };
    draft.attributes.set("nearest_mode", Attribute::string(rounding(shrinks && !grows)));
    if let Some(all) = scales
        && grows
        && shrinks
    {
        let one = draft.add_constant(floats(&[1], &[1.0]));
        scales = Some(draft.add(Variadic::new(Function::Max), &[all, one]));
        let below = draft.add(Variadic::new(Function::Min), &[all, one]);
        let shrink = Resize {
            coordinate_transformation_mode: "asymmetric".into(),
            nearest_mode: rounding(true).into(),
            ..Resize::plain("nearest")
        };
        let nothing = draft.add_constant(floats(&[0], &[]));
        draft.output_through(0, shrink, &[nothing, below])?;
    }
    draft.set_input(1, None);
    draft.set_input(2, scales);
    Ok(())
}

/// Whether factors may be above one, and below; both where nothing is known of them.
fn directions(graph: &Graph, scales: ValueId) -> Result<(bool, bool), OpError> {
    if let Some(scales) = constant_of(graph, scales) {
        let scales = scales.values::<f32>()?;
        return Ok((scales.iter().any(|&s| s > 1.0), scales.iter().any(|&s| s < 1.0)));
    }
    // A larger or smaller of something and one.
    if let Some(node) = graph.value(scales).producer()
        && let Some(function) = graph.node(node).op().downcast::<Variadic>().map(Variadic::function)
    {
        let bound = graph.node(node).inputs().iter().flatten().find_map(|&v| constant_of(graph, v));
        let bound = bound.map(|t| t.to_f64s()).transpose()?;
        let one = bound.is_some_and(|b| b.iter().all(|&b| b == 1.0));
        return Ok((!(one && function == Function::Min), !(one && function == Function::Max)));
    }
    Ok((true, true))
}

fn without_modes(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let name = |d: &Draft<'_>, key: &str| -> Result<String, OpError> {
        Ok(d.attributes.value::<String>(key)?.unwrap_or_default())
    };
    let same_rounding = match (name(draft, "mode")?.as_str(), draft.input(2)) {
        ("linear", _) => true,
        ("nearest", Some(scales)) => match name(draft, "nearest_mode")?.as_str() {
            // Computed factors are taken to grow, as those of Upsample must.
            "floor" => constant_of(draft.graph(), scales).is_none() || !directions(draft.graph(), scales)?.1,
            "ceil" => !directions(draft.graph(), scales)?.0,
            _ => false,
        },
        _ => false,
    };
    let same = name(draft, "coordinate_transformation_mode")? == "asymmetric"
        && same_rounding
        && !given(draft, 3)?
        && given(draft, 2)?;
    if !same {
        return Err(OpError::new(
            "only scales, asymmetric coordinates and rounding down where a size grows can be expressed in this opset",
        )
        .help("export to opset 11 or later"));
    }
    for gone in [
        "coordinate_transformation_mode",
        "nearest_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
    ] {
        draft.attributes.take(gone);
    }
    let scales = draft.input(2);
    draft.inputs.truncate(1);
    draft.set_input(1, scales);
    Ok(())
}

/// Whether an input is there and not a filler without elements.
fn given(draft: &Draft<'_>, slot: usize) -> Result<bool, OpError> {
    let empty = draft.constant(slot).is_some_and(|t| t.is_empty());
    Ok(draft.input(slot).is_some() && !empty)
}

/// From opset 13 on an input that says nothing may be absent.
fn without_fillers(draft: &mut Draft<'_>) -> Result<(), OpError> {
    for slot in [3, 2, 1] {
        if draft.input(slot).is_some() && !given(draft, slot)? {
            draft.drop_input(slot);
        }
    }
    let key = "coordinate_transformation_mode";
    if draft.attributes.value::<String>(key)?.as_deref() == Some("tf_half_pixel_for_nn") {
        // It reads at (x + 0.5) / scale, half an element behind half_pixel: rounding down there is rounding here.
        match draft.attributes.value::<String>("nearest_mode")?.as_deref() {
            Some("floor") => {
                draft.attributes.set(key, Attribute::string("half_pixel"));
                draft.attributes.set("nearest_mode", Attribute::string("round_prefer_ceil"));
            }
            _ => {
                return Err(OpError::unsupported(
                    "coordinate_transformation_mode `tf_half_pixel_for_nn` with another nearest_mode than `floor`",
                ));
            }
        }
    }
    Ok(())
}

fn with_fillers(draft: &mut Draft<'_>) -> Result<(), OpError> {
    for slot in [1, 2] {
        if draft.input(slot).is_none() {
            let nothing = draft.add_constant(floats(&[0], &[]));
            draft.set_input(slot, Some(nothing));
        }
    }
    Ok(())
}

impl Resize {
    /// A mode (`nearest`, `linear`, `cubic`), all else at its default.
    pub fn plain(mode: &str) -> Resize {
        Resize {
            antialias: false,
            axes: None,
            coordinate_transformation_mode: "half_pixel".into(),
            cubic_coeff_a: -0.75,
            exclude_outside: false,
            extrapolation_value: 0.0,
            keep_aspect_ratio_policy: "stretch".into(),
            mode: mode.into(),
            nearest_mode: "round_prefer_floor".into(),
        }
    }

    fn kernel_attributes(&self) -> Result<ResizeAttributes, OpError> {
        let fault = |name: &str, value: &str| {
            OpError::new(format!("attribute `{name}` is `{value}`, which is unknown"))
        };
        let mode = match self.mode.as_str() {
            "nearest" => ResizeMode::Nearest(
                NearestMode::from_name(&self.nearest_mode)
                    .ok_or_else(|| fault("nearest_mode", &self.nearest_mode))?,
            ),
            "linear" => ResizeMode::Linear,
            "cubic" => ResizeMode::Cubic { a: self.cubic_coeff_a },
            other => return Err(fault("mode", other).help("it is one of nearest, linear, cubic")),
        };
        let coordinates = &self.coordinate_transformation_mode;
        Ok(ResizeAttributes {
            mode,
            coordinates: Coordinates::from_name(coordinates)
                .ok_or_else(|| fault("coordinate_transformation_mode", coordinates))?,
            antialias: self.antialias,
            exclude_outside: self.exclude_outside,
            extrapolation_value: self.extrapolation_value,
        })
    }

    fn policy(&self) -> Result<AspectRatio, OpError> {
        Ok(match self.keep_aspect_ratio_policy.as_str() {
            "stretch" => AspectRatio::Stretch,
            "not_larger" => AspectRatio::NotLarger,
            "not_smaller" => AspectRatio::NotSmaller,
            other => {
                return Err(OpError::new(format!("attribute `keep_aspect_ratio_policy` is `{other}`"))
                    .help("it is one of stretch, not_larger, not_smaller"));
            }
        })
    }

    /// The dimensions that the inputs speak of.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        match &self.axes {
            None => Ok((0..rank).collect()),
            Some(axes) => axes.iter().map(|&a| axis_index(a, rank)).collect(),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let attributes = self.kernel_attributes()?;
        let x = run.dense(0)?;
        let axes = self.axes(x.rank())?;
        let filled = |input| -> Result<Option<Tensor>, OpError> {
            Ok(run.try_tensor(input)?.filter(|t| !t.is_empty()).map(Tensor::to_dense).transpose()?)
        };
        let roi = match (attributes.coordinates, filled(1)?) {
            (Coordinates::TfCropAndResize, Some(roi)) => roi.to_f64s()?,
            (Coordinates::TfCropAndResize, None) => {
                return Err(OpError::new("input 1 (`roi`) is missing, which tf_crop_and_resize needs"));
            }
            _ => Vec::new(),
        };
        let (scales, sizes) = (filled(2)?, filled(3)?);
        let along = match (&scales, &sizes) {
            (Some(scales), None) => {
                resize_axes(x.shape(), &axes, ResizeTarget::Scales(scales.slice()?), &roi)?
            }
            (None, Some(sizes)) => {
                resize_axes(x.shape(), &axes, ResizeTarget::Sizes(sizes.slice()?, self.policy()?), &roi)?
            }
            // A scalar has no dimension to speak of.
            (None, None) if axes.is_empty() => {
                resize_axes(x.shape(), &axes, ResizeTarget::Scales(&[]), &roi)?
            }
            _ => return Err(OpError::new("exactly one of the inputs `scales` and `sizes` must be given")),
        };
        let y = match x.as_strings() {
            Some(strings) => resize_strings(run, strings, x.shape(), &along, &attributes)?,
            None => resize_bits(run, &x, &along, &attributes)?,
        };
        run.set(0, y);
        Ok(())
    }

    /// The sizes of the result, from factors or sizes as far as they are known.
    fn dims(&self, ctx: &InferCtx<'_>, x: &[Dim]) -> Result<Dims, Unknown> {
        let axes = self.axes(x.len())?;
        let known: Option<Vec<usize>> = x.iter().map(|d| d.as_size()).collect();
        let scales = ctx.constant(2).filter(|t| !t.is_empty()).map(|t| t.values::<f32>()).transpose()?;
        let sizes = ctx.ints(3).filter(|ints| !ints.dims.is_empty());
        let counts = [scales.as_ref().map(|s| s.len()), sizes.as_ref().map(|s| s.dims.len())];
        if counts.into_iter().flatten().any(|n| n != axes.len()) {
            return Err(Unknown::wrong(format!(
                "{} scales or sizes are given for {} dimensions",
                counts.into_iter().flatten().next().unwrap_or(0),
                axes.len()
            )));
        }
        let exact = |target| -> Result<Option<Dims>, Unknown> {
            let Some(known) = &known else { return Ok(None) };
            let along = resize_axes(known, &axes, target, &[])?;
            Ok(Some(along.iter().map(|a| Dim::from(a.output)).collect()))
        };
        let mut dims = Dims::from_slice(x);
        if let Some(scales) = &scales {
            if let Some(dims) = exact(ResizeTarget::Scales(scales))? {
                return Ok(dims);
            }
            for (&axis, &scale) in axes.iter().zip(scales.iter()) {
                dims[axis] = scaled(x[axis], scale).unwrap_or_else(|| ctx.unknown_dim(0, axis));
            }
        } else if let Some(sizes) = &sizes {
            let policy = self.policy()?;
            let plain: Option<Vec<i64>> = sizes.dims.iter().map(|d| d.as_known()).collect();
            if let Some(plain) = &plain
                && let Some(dims) = exact(ResizeTarget::Sizes(plain, policy))?
            {
                return Ok(dims);
            }
            for (&axis, &size) in axes.iter().zip(&sizes.dims) {
                let stretch = policy == AspectRatio::Stretch;
                dims[axis] = if stretch { size } else { ctx.unknown_dim(0, axis) };
            }
        } else {
            for &axis in &axes {
                dims[axis] = ctx.unknown_dim(0, axis);
            }
        }
        Ok(dims)
    }
}

/// The size times the factor, rounded down, where that is exact for every size.
fn scaled(size: Dim, scale: f32) -> Option<Dim> {
    if scale.fract() == 0.0 && (1.0..1e6).contains(&scale) {
        return Some(size * Dim::from(scale as i64));
    }
    // The inverses of powers of two have no rounding error.
    let parts = scale.recip();
    let power = (2.0..1e6).contains(&parts) && parts.fract() == 0.0 && (parts as i64).count_ones() == 1;
    power.then(|| size.floor_div(Dim::from(parts as i64)))
}

/// Types without arithmetic are resized by picking elements.
fn resize_bits(
    run: &Run<'_>,
    x: &Tensor,
    along: &[ResizeAxis],
    attributes: &ResizeAttributes,
) -> Result<Tensor, OpError> {
    let plain = match x.dtype() {
        // Two numbers an element, so that one of twice the width stands for it.
        DType::Complex128 => {
            let places = resized_places(run, x.shape(), along, attributes)?;
            let pairs = x.dense_bytes().ok_or_else(|| OpError::new("the input is not dense"))?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(places.len().saturating_mul(16))?;
            for &place in places.slice::<i64>()? {
                let at = place as usize * 16;
                bytes.extend_from_slice(&pairs[at..at + 16]);
            }
            return Ok(Tensor::from_bytes(x.dtype(), places.shape(), bytes.into())?);
        }
        _ => x,
    };
    Ok(resize(run.pool(), plain, along, attributes)?)
}

fn resize_strings(
    run: &Run<'_>,
    strings: &[Arc<str>],
    shape: &[usize],
    along: &[ResizeAxis],
    attributes: &ResizeAttributes,
) -> Result<Tensor, OpError> {
    let places = resized_places(run, shape, along, attributes)?;
    let picked = places.slice::<i64>()?.iter().map(|&p| strings[p as usize].clone()).collect();
    Ok(Tensor::from_strings(places.shape(), picked)?)
}

/// For each element of the result, which one of the input it is.
fn resized_places(
    run: &Run<'_>,
    shape: &[usize],
    along: &[ResizeAxis],
    attributes: &ResizeAttributes,
) -> Result<Tensor, OpError> {
    if !matches!(attributes.mode, ResizeMode::Nearest(_))
        || attributes.coordinates == Coordinates::TfCropAndResize
    {
        return Err(OpError::new("elements without arithmetic can only be resized by picking the nearest")
            .help(
                "set mode to nearest, and coordinate_transformation_mode to another than tf_crop_and_resize",
            ));
    }
    let places: Vec<i64> = (0..element_count(shape)? as i64).collect();
    Ok(resize(run.pool(), &Tensor::new(shape, &places)?, along, attributes)?)
}

impl Op for Resize {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        self.kernel_attributes()?;
        match ctx.shape(0).map(Dims::from_slice) {
            Some(x) => {
                let dims = self.dims(ctx, &x)?;
                ctx.set_tensor(0, dtype, dims);
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
