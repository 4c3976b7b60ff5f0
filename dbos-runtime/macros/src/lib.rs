//! `#[workflow]`: a durable function becomes a typed, named thing that can be registered and started.

use proc_macro::TokenStream;

mod workflow;

/// Makes an `async fn` a workflow: a constant of the function's name that can be registered and started.
///
/// The function takes the application's context and at most one input (a tuple is several arguments on the wire), and
/// returns a `Result` whose error is the context's:
///
/// ```ignore
/// #[workflow]
/// async fn checkout(ctx: Ctx, cart: Cart) -> Result<Receipt, StoreError> { .. }
/// ```
///
/// It is registered under the function's name, unless the attribute says otherwise:
///
/// | | |
/// |---|---|
/// | `name = "…"` | the name |
/// | `class = "…"`, `instance = "…"` | the class and the configured instance under which programs in other languages start it |
/// | `roles("…", "…")` | the roles of which its user must have one, whoever runs it |
///
/// The function's tokens are hashed into
/// the application's version, so formatting and comments do not change it.
#[proc_macro_attribute]
pub fn workflow(attribute: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(attribute.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
