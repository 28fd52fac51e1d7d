//! Why a component is refused: which step, what was wrong with what, and what to do.

use crate::call::CallError;

/// A refusal of the load path. Nothing of the component is kept or runs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More bytes than are accepted.
    #[error(
        "the component has {size} bytes, more than the {max} that are accepted: strip it (strip = \"debuginfo\") and build it \
         with opt-level = \"s\""
    )]
    TooLarge {
        /// What was sent.
        size: usize,
        /// What is accepted.
        max: usize,
    },
    /// The bytes do not begin like Wasm.
    #[error(
        "this is not WebAssembly: it begins with {found}, not with \\0asm; send the .wasm file that `quadrille build` prints"
    )]
    NotWasm {
        /// The first bytes, escaped.
        found: String,
    },
    /// The bytes end in the middle.
    #[error("the component is truncated or malformed: {detail}; send the whole file again")]
    Malformed {
        /// Where and why.
        detail: String,
    },
    /// A core module that was not made for our world.
    #[error(
        "this is a core module, not a component{imports}; build it for wasm32-wasip2 with the SDK, or componentise it"
    )]
    CoreModule {
        /// What it imports, as `: it imports env.abort, …`; empty for nothing.
        imports: String,
    },
    /// An import that no plugin gets.
    #[error(
        "the component imports {import}, which the host does not offer: it offers quadrille:controller@0.1 and, empty, WASI 0.2"
    )]
    ForeignImport {
        /// The import's name.
        import: String,
    },
    /// It is a component of another kind.
    #[error(
        "the component does not export {export}; it exports {found}: is it a controller made with the SDK?"
    )]
    MissingExport {
        /// What was looked for.
        export: String,
        /// What there is.
        found: String,
    },
    /// A function with another type than the host's.
    #[error(
        "{function} has the type {found}, the host has {wanted}: rebuild the plugin with an SDK of this host's version"
    )]
    WrongType {
        /// Interface and function.
        function: String,
        /// The component's type.
        found: String,
        /// The host's.
        wanted: String,
    },
    /// The compiler refused it.
    #[error("the component does not compile: {detail}")]
    Compile {
        /// What the compiler said.
        detail: String,
    },
    /// Compiling met a limit and was stopped.
    #[error(
        "compiling the component {limit}: split very large functions, or build it with opt-level = \"s\""
    )]
    CompileLimit {
        /// Which limit.
        limit: String,
    },
    /// The compiling child could not be run.
    #[error("cannot compile the component: {detail}")]
    Compiler {
        /// What failed.
        detail: String,
    },
    /// The linker refused it, although its types looked right.
    #[error("the component does not link: {detail}")]
    Link {
        /// What the engine said.
        detail: String,
    },
    /// `describe` did not end well.
    #[error("the component's describe {source}")]
    Describe {
        /// How it ended.
        source: CallError,
    },
    /// What `describe` said makes no sense.
    #[error("the component describes itself wrongly: {detail}")]
    Description {
        /// What and where.
        detail: String,
    },
    /// A file of the host's own.
    #[error("cannot {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl LoadError {
    /// One word for conditions and tests, such as `NotWasm`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "TooLarge",
            Self::NotWasm { .. } => "NotWasm",
            Self::Malformed { .. } => "Malformed",
            Self::CoreModule { .. } => "CoreModule",
            Self::ForeignImport { .. } => "ForeignImport",
            Self::MissingExport { .. } => "MissingExport",
            Self::WrongType { .. } => "WrongType",
            Self::Compile { .. } => "CompileFailed",
            Self::CompileLimit { .. } => "CompileLimit",
            Self::Compiler { .. } => "CompilerUnavailable",
            Self::Link { .. } => "LinkFailed",
            Self::Describe { .. } => "DescribeFailed",
            Self::Description { .. } => "InvalidDescription",
            Self::Io { .. } => "StorageFailed",
        }
    }

    /// Whether it is the component's fault, as opposed to the host's.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Compiler { .. } | Self::Io { .. } | Self::Describe { source: CallError::Host(_) }
        )
    }
}
