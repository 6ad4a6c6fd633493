use super::*;

/// Every method on numbers of all kinds, against the plain ones.
struct Methods<'a>(&'a [f32], &'a [f32]);

impl Work for Methods<'_> {
    type Output = Vec<(&'static str, Vec<f32>)>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Self::Output {
        let (a, b) = (V::of(self.0), V::of(self.1));
        let mut all = Vec::new();
        let mut note = |name, v: V| {
            let mut out = vec![0.0; LANES];
            v.put(&mut out);
            all.push((name, out));
        };
        note("add", a.add(b));
        note("sub", a.sub(b));
        note("mul", a.mul(b));
        note("div", a.div(b));
        note("max", a.max(b));
        note("min", a.min(b));
        note("sqrt", a.abs().sqrt());
        note("round", a.round());
        note("floor", a.floor());
        note("copy_sign", a.copy_sign(b));
        note("scale", a.scale(b.floor()));
        note("mantissa", a.abs().add(V::splat(1e-30)).split().0);
        note("exponent", a.abs().add(V::splat(1e-30)).split().1);
        note("below", V::select(a.below(b), a, b));
        note("nan", V::select(a.is_nan(), b, a));
        note("sum", V::splat(a.sum()));
        note("largest", V::splat(a.largest()));
        note("first", V::of(&self.0[..5]));
        note("any", V::splat(f32::from(u8::from(V::any(a.below(b))))));
        let mut part = vec![7.0; LANES];
        a.put(&mut part[..11]);
        note("part", V::of(&part));
        all
    }
}

#[test]
fn methods_agree_with_plain_rust() {
    let a: Vec<f32> = (0..16).map(|i| (i as f32 - 7.3) * 1.37f32.powi(i)).collect();
    let b: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32 * 1.5 - 9.25).collect();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let plain = Methods(a, b).run::<plain::Plain>();
        for ((name, want), (_, got)) in plain.iter().zip(dispatch(Methods(a, b))) {
            assert_eq!(want, &got, "{name}");
        }
    }
}

#[test]
fn sixteen_vectors_turn() {
    struct Turn<'a>(&'a mut [f32]);
    impl Work for Turn<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector>(self) {
            let turned = V::transpose(std::array::from_fn(|i| V::of(&self.0[i * LANES..])));
            turned.into_iter().zip(self.0.chunks_mut(LANES)).for_each(|(row, to)| row.put(to));
        }
    }
    let mut cells: Vec<f32> = (0..256).map(|i| i as f32).collect();
    dispatch(Turn(&mut cells));
    for (i, cell) in cells.into_iter().enumerate() {
        assert_eq!(cell as usize, i % 16 * 16 + i / 16);
    }
}

#[test]
fn products_are_fused_or_not_but_near() {
    struct Fused;
    impl Work for Fused {
        type Output = (f32, f32);
        #[inline(always)]
        fn run<V: Vector>(self) -> (f32, f32) {
            let (a, b, c) = (V::splat(1.1), V::splat(2.3), V::splat(-0.7));
            (a.mul_add(b, c).largest(), a.neg_mul_add(b, c).largest())
        }
    }
    let (plus, minus) = dispatch(Fused);
    assert!((plus - 1.83).abs() < 1e-6 && (minus + 3.23).abs() < 1e-6);
}

#[test]
fn the_lowest_set_is_always_there() {
    let all = available();
    assert_eq!(all[0], Isa::Scalar);
    assert!(all.contains(&isa()));
}

/// All tests of this crate once more on each lower set that the machine has.
#[test]
fn lower_sets_pass_all_tests() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let own = std::env::current_exe().expect("the tests are a program");
    for lower in available().into_iter().filter(|&set| set != isa()) {
        let mut tests = std::process::Command::new(&own);
        tests.env(VARIABLE, lower.name()).args(["--skip", "lower_sets_pass_all_tests"]);
        let done = tests.output().expect("the tests run");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "on {}:\n{said}", lower.name());
    }
}
