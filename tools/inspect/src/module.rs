//! Modules of a network, told from the names of its nodes.

/// Whether names tell modules by slashes: where there are none, dots do.
pub fn by_slashes<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| name.trim_start_matches('/').contains('/'))
}

/// The module of a node, from its name, and what is left of the name; a node without one has the name of its first output.
pub fn of(name: &str, output: &str, slashes: bool) -> (String, String) {
    if name.is_empty() {
        return (String::new(), output.to_owned());
    }
    let separator = if slashes { '/' } else { '.' };
    let trimmed = name.trim_matches(separator);
    // `p2o.Conv.0` is the first Conv of p2o, no module of its own.
    let numbered = |last: &str| !slashes && last.bytes().all(|b| b.is_ascii_digit());
    let cut = trimmed.rfind(separator).and_then(|at| match numbered(&trimmed[at + 1..]) {
        true => trimmed[..at].rfind(separator),
        false => Some(at),
    });
    match cut.map(|at| (&trimmed[..at], &trimmed[at + 1..])) {
        Some((module, last)) => {
            let parts: Vec<&str> = module.split(separator).filter(|p| !p.is_empty()).collect();
            (parts.join("/"), last.to_owned())
        }
        None => (String::new(), trimmed.to_owned()),
    }
}
