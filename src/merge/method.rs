//! The merge methods: their names, parameters and what they ask of a base. Data alone; the arithmetic is in `stages`.
//!
//! Names, parameters and defaults are those of mergekit 0.1.5, so that its configurations give the same tensors.

use std::fmt;

/// A merge method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Linear,
    Slerp,
    Nuslerp,
    Multislerp,
    Karcher,
    TaskArithmetic,
    Ties,
    DareLinear,
    DareTies,
    Breadcrumbs,
    BreadcrumbsTies,
    Della,
    DellaLinear,
    ModelStock,
    Sce,
    Nearswap,
    ArceeFusion,
    Ram,
    RamplusTl,
    Passthrough,
}

/// What a base model is to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// There must be one, among the inputs.
    Required,
    /// Differences are merged where there is one, weights themselves where there is none.
    Optional,
    /// It is an input like any other.
    Ignored,
}

/// Where a parameter is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One value a tensor: slice, module, global.
    Shared,
    /// One value a model, the base included: its own entry first, then as `Shared`.
    Input,
    /// As `Input` for all models but the base, whose own are not looked at.
    NonBase,
}

/// What a parameter's value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Flag,
    /// A whole number from 0.
    Count,
    /// A finite number between two bounds, both included.
    Real {
        min: f64,
        max: f64,
    },
    /// true (`l1`), false, `l1` or `inverse_density`.
    Rescale,
}

/// What a value is where no scope says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Usual {
    /// It has to be said.
    Required,
    /// The method does without.
    Absent,
    Flag(bool),
    Number(f64),
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    pub scope: Scope,
    pub kind: Kind,
    pub usual: Usual,
    pub about: &'static str,
}

/// All that a configuration has to know of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodSpec {
    pub method: Method,
    pub name: &'static str,
    pub base: Base,
    /// Fewest and most inputs, the base included where there is one.
    pub inputs: (usize, usize),
    pub parameters: &'static [Parameter],
    pub about: &'static str,
    /// Where the method was published.
    pub source: &'static str,
}

const ANY: Kind = Kind::Real { min: f64::MIN, max: f64::MAX };
const SHARE: Kind = Kind::Real { min: 0.0, max: 1.0 };
const NOT_NEGATIVE: Kind = Kind::Real { min: 0.0, max: f64::MAX };
const MANY: usize = usize::MAX;

const fn shared(name: &'static str, kind: Kind, usual: Usual, about: &'static str) -> Parameter {
    Parameter { name, scope: Scope::Shared, kind, usual, about }
}

const fn input(name: &'static str, kind: Kind, usual: Usual, about: &'static str) -> Parameter {
    Parameter { name, scope: Scope::Input, kind, usual, about }
}

const fn of_model(name: &'static str, kind: Kind, usual: Usual, about: &'static str) -> Parameter {
    Parameter { name, scope: Scope::NonBase, kind, usual, about }
}

const WEIGHT: Parameter = of_model("weight", ANY, Usual::Required, "how much the model's difference counts");
const DENSITY: Parameter =
    of_model("density", SHARE, Usual::Number(1.0), "share of the elements that is kept");
const LAMBDA: Parameter = shared("lambda", ANY, Usual::Number(1.0), "factor of the merged difference");
const INT8_MASK: Parameter =
    shared("int8_mask", Kind::Flag, Usual::Flag(false), "taken for mergekit's sake, changes nothing");
const EPSILON_DELLA: Parameter = of_model(
    "epsilon",
    Kind::Real { min: 0.0, max: 0.5 },
    Usual::Number(0.15),
    "how far the chance to be kept goes up and down with an element's rank",
);
const GAMMA: Parameter =
    of_model("gamma", SHARE, Usual::Number(0.01), "share of the largest that is dropped");

const fn normalize(usual: bool) -> Parameter {
    shared("normalize", Kind::Flag, Usual::Flag(usual), "divide by the sum of the weights that took part")
}

const fn rescale(usual: bool) -> Parameter {
    shared(
        "rescale",
        Kind::Rescale,
        Usual::Flag(usual),
        "make up for what was dropped: true or l1 keeps the sum of absolute values, inverse_density divides by the density",
    )
}

const EPSILON_RAM: Parameter =
    shared("epsilon", NOT_NEGATIVE, Usual::Number(1e-5), "a difference up to this is none");

/// The methods by name.
pub const METHODS: &[MethodSpec] = &[
    MethodSpec {
        method: Method::Linear,
        name: "linear",
        base: Base::Ignored,
        inputs: (1, MANY),
        parameters: &[
            input("weight", ANY, Usual::Required, "how much the model counts"),
            shared("normalize", Kind::Flag, Usual::Flag(true), "divide by the sum of the weights"),
        ],
        about: "sum w x / sum w",
        source: "Model soups, arXiv 2203.05482",
    },
    MethodSpec {
        method: Method::Slerp,
        name: "slerp",
        base: Base::Required,
        inputs: (2, 2),
        parameters: &[shared("t", SHARE, Usual::Required, "0 is the base, 1 the other model")],
        about: "along the great circle from the base to the other model; straight where both are nearly parallel",
        source: "Shoemake 1985, Animating rotation with quaternion curves",
    },
    MethodSpec {
        method: Method::Nuslerp,
        name: "nuslerp",
        base: Base::Optional,
        inputs: (2, 3),
        parameters: &[
            of_model("weight", ANY, Usual::Required, "t is the second's weight over the sum"),
            shared(
                "nuslerp_row_wise",
                Kind::Flag,
                Usual::Flag(false),
                "vectors along the first axis instead of the last (unless flat)",
            ),
            shared("nuslerp_flatten", Kind::Flag, Usual::Flag(true), "the whole tensor is one vector"),
        ],
        about: "slerp of two models with weights, or of their differences where there is a base",
        source: "mergekit, nuslerp",
    },
    MethodSpec {
        method: Method::Multislerp,
        name: "multislerp",
        base: Base::Optional,
        inputs: (1, MANY),
        parameters: &[
            of_model("weight", ANY, Usual::Required, "how much the model counts"),
            shared("normalize_weights", Kind::Flag, Usual::Flag(true), "make the weights sum to 1"),
            shared("eps", NOT_NEGATIVE, Usual::Number(1e-8), "guards divisions"),
        ],
        about: "the exponential map at the normalised mean of the directions, times the weighted mean norm",
        source: "mergekit, multislerp",
    },
    MethodSpec {
        method: Method::Karcher,
        name: "karcher",
        base: Base::Ignored,
        inputs: (1, MANY),
        parameters: &[
            shared("max_iter", Kind::Count, Usual::Number(10.0), "iterations at most"),
            shared("tol", NOT_NEGATIVE, Usual::Number(1e-5), "an update smaller than this is the last"),
        ],
        about: "the Riemannian mean of the directions on the sphere, times the mean norm",
        source: "Karcher 1977, Riemannian center of mass",
    },
    MethodSpec {
        method: Method::TaskArithmetic,
        name: "task_arithmetic",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, normalize(false), rescale(false), LAMBDA, INT8_MASK],
        about: "base + lambda sum w (x - base)",
        source: "Editing models with task arithmetic, arXiv 2212.04089",
    },
    MethodSpec {
        method: Method::Ties,
        name: "ties",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, normalize(true), rescale(false), LAMBDA, INT8_MASK],
        about: "the largest differences, of which those count that agree with the sign of their weighted sum",
        source: "TIES-Merging, arXiv 2306.01708",
    },
    MethodSpec {
        method: Method::DareLinear,
        name: "dare_linear",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, normalize(false), rescale(true), LAMBDA, INT8_MASK],
        about: "differences dropped at random, then task arithmetic",
        source: "DARE, arXiv 2311.03099",
    },
    MethodSpec {
        method: Method::DareTies,
        name: "dare_ties",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, normalize(false), rescale(true), LAMBDA, INT8_MASK],
        about: "differences dropped at random, then the consensus of signs of ties",
        source: "DARE, arXiv 2311.03099; TIES-Merging, arXiv 2306.01708",
    },
    MethodSpec {
        method: Method::Breadcrumbs,
        name: "breadcrumbs",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, GAMMA, normalize(false), rescale(false), LAMBDA, INT8_MASK],
        about: "the largest differences (gamma) and the smallest dropped, then task arithmetic",
        source: "Model Breadcrumbs, arXiv 2312.06795",
    },
    MethodSpec {
        method: Method::BreadcrumbsTies,
        name: "breadcrumbs_ties",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, GAMMA, normalize(false), rescale(false), LAMBDA, INT8_MASK],
        about: "the largest differences (gamma) and the smallest dropped, then the consensus of signs of ties",
        source: "Model Breadcrumbs, arXiv 2312.06795; TIES-Merging, arXiv 2306.01708",
    },
    MethodSpec {
        method: Method::Della,
        name: "della",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, EPSILON_DELLA, normalize(true), rescale(true), LAMBDA, INT8_MASK],
        about: "differences dropped at random, the smaller of a row the likelier, then the consensus of signs of ties",
        source: "DELLA-Merging, arXiv 2406.11617",
    },
    MethodSpec {
        method: Method::DellaLinear,
        name: "della_linear",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[WEIGHT, DENSITY, EPSILON_DELLA, normalize(false), rescale(true), LAMBDA, INT8_MASK],
        about: "differences dropped at random, the smaller of a row the likelier, then task arithmetic",
        source: "DELLA-Merging, arXiv 2406.11617",
    },
    MethodSpec {
        method: Method::ModelStock,
        name: "model_stock",
        base: Base::Required,
        inputs: (3, MANY),
        parameters: &[shared("filter_wise", Kind::Flag, Usual::Flag(false), "one angle a row, not a tensor")],
        about: "between the base and the mean, by the angle between the differences",
        source: "Model Stock, arXiv 2403.19522",
    },
    MethodSpec {
        method: Method::Sce,
        name: "sce",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[
            shared(
                "select_topk",
                SHARE,
                Usual::Number(1.0),
                "share of the elements that vary most that is kept",
            ),
            INT8_MASK,
        ],
        about: "differences where the models vary most, weighted by their mean squares, minority signs erased",
        source: "FuseChat 3.0 (SCE), arXiv 2408.07990",
    },
    MethodSpec {
        method: Method::Nearswap,
        name: "nearswap",
        base: Base::Required,
        inputs: (2, 2),
        parameters: &[shared("t", NOT_NEGATIVE, Usual::Required, "differences up to t are taken wholly")],
        about: "towards the other model by min(1, t / |difference|)",
        source: "mergekit, nearswap",
    },
    MethodSpec {
        method: Method::ArceeFusion,
        name: "arcee_fusion",
        base: Base::Required,
        inputs: (2, 2),
        parameters: &[],
        about: "differences whose size times the divergence of their row is an outlier",
        source: "Arcee fusion, mergekit",
    },
    MethodSpec {
        method: Method::Ram,
        name: "ram",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[EPSILON_RAM],
        about: "what one model alone changed is kept, what several did is averaged",
        source: "RAM, arXiv 2601.13572",
    },
    MethodSpec {
        method: Method::RamplusTl,
        name: "ramplus_tl",
        base: Base::Required,
        inputs: (1, MANY),
        parameters: &[
            shared("r", ANY, Usual::Number(0.1), "how much a model's own part grows with its overlap"),
            shared("alpha", NOT_NEGATIVE, Usual::Number(0.2), "the most that growth is reckoned with"),
            EPSILON_RAM,
        ],
        about: "as ram, a model's own part scaled by how much of it others changed too",
        source: "RAM, arXiv 2601.13572",
    },
    MethodSpec {
        method: Method::Passthrough,
        name: "passthrough",
        base: Base::Ignored,
        inputs: (1, 1),
        parameters: &[input("scale", ANY, Usual::Absent, "factor of the tensor")],
        about: "the tensor as it is, for models stacked from slices",
        source: "mergekit, passthrough",
    },
];

impl Method {
    pub fn named(name: &str) -> Option<Self> {
        METHODS.iter().find(|spec| spec.name == name).map(|spec| spec.method)
    }

    pub fn spec(self) -> &'static MethodSpec {
        // The table holds every method: a test walks it.
        METHODS.iter().find(|spec| spec.method == self).unwrap_or(&METHODS[0])
    }

    pub fn name(self) -> &'static str {
        self.spec().name
    }

    pub fn parameter(self, name: &str) -> Option<&'static Parameter> {
        self.spec().parameters.iter().find(|parameter| parameter.name == name)
    }

    pub fn has_base(self) -> bool {
        self.spec().base != Base::Ignored
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
