//! The expansion of `#[workflow]`.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use sha2::{Digest, Sha256};
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, LitStr, Pat, ReturnType, Token, Type};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let fingerprint = fingerprint(item.clone());
    let function: ItemFn = syn::parse2(item)?;
    let Options { name, class, instance, roles } = Options::parse(attribute, &function)?;
    let (class, instance) = (maybe(class), maybe(instance));
    check(&function)?;
    let mut inputs = function.sig.inputs.iter();
    let context = argument(inputs.next(), &function)?;
    let input = inputs.next();

    let visibility = &function.vis;
    let ident = &function.sig.ident;
    let attributes = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let others = function.attrs.iter().filter(|attribute| !attribute.path().is_ident("doc"));
    let (context_pattern, context_type) = (&context.0, &context.1);
    let (input_pattern, input_type) = match input {
        Some(input) => argument(Some(input), &function)?,
        None => (quote!(()), syn::parse_quote!(())),
    };
    let ReturnType::Type(_, output) = &function.sig.output else {
        return Err(Error::new(function.sig.span(), "a workflow returns a `Result`"));
    };
    let (body, inner) = (&function.block, format_ident!("run"));
    let hidden = format_ident!("__workflow_{}", ident);
    // The error of a wrong return type should point at the return type.
    let success = quote_spanned!(output.span()=> <#output as ::dbos_runtime::__private::Fallible>::Ok);
    Ok(quote! {
        // A constant, like the function that it stands for, does not get in the way of a module of the same name.
        #(#attributes)*
        #[allow(non_upper_case_globals)]
        #visibility const #ident: #hidden = #hidden;

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #hidden;

        impl ::dbos_runtime::Target for #hidden {
            type Input = #input_type;
            type Output = #success;
            type Error = <#context_type as ::dbos_runtime::__private::Context>::Error;

            fn name(&self) -> &str {
                #name
            }

            fn class_name(&self) -> Option<&str> {
                #class
            }

            fn config_name(&self) -> Option<&str> {
                #instance
            }
        }

        impl ::dbos_runtime::Workflow for #hidden {
            type State = <#context_type as ::dbos_runtime::__private::Context>::State;

            fn fingerprint(&self) -> &'static str {
                #fingerprint
            }

            fn roles(&self) -> &'static [&'static str] {
                &[#(#roles),*]
            }

            #(#others)*
            async fn #inner(#context_pattern: #context_type, #input_pattern: #input_type) -> #output #body
        }
    })
}

/// What the attribute says.
struct Options {
    name: String,
    class: Option<String>,
    instance: Option<String>,
    roles: Vec<String>,
}

impl Options {
    fn parse(attribute: TokenStream, function: &ItemFn) -> syn::Result<Self> {
        let mut options =
            Self { name: function.sig.ident.to_string(), class: None, instance: None, roles: Vec::new() };
        let parser = syn::meta::parser(|meta| {
            let ident = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match ident.as_str() {
                "name" => options.name = text(meta.value()?)?,
                "class" => options.class = Some(text(meta.value()?)?),
                "instance" => options.instance = Some(text(meta.value()?)?),
                "roles" => {
                    let list;
                    syn::parenthesized!(list in meta.input);
                    let roles = list.parse_terminated(|role: ParseStream<'_>| text(role), Token![,])?;
                    options.roles.extend(roles);
                    if options.roles.is_empty() {
                        return Err(meta.error("at least one role"));
                    }
                }
                _ => {
                    let known =
                        "expected `name = \"…\"`, `class = \"…\"`, `instance = \"…\"` or `roles(\"…\")`";
                    return Err(meta.error(known));
                }
            }
            Ok(())
        });
        syn::parse::Parser::parse2(parser, attribute)?;
        Ok(options)
    }
}

/// A text that is not empty.
fn text(input: ParseStream<'_>) -> syn::Result<String> {
    let text: LitStr = input.parse()?;
    if text.value().is_empty() {
        return Err(Error::new(text.span(), "the text is empty"));
    }
    Ok(text.value())
}

fn maybe(text: Option<String>) -> TokenStream {
    match text {
        Some(text) => quote!(Some(#text)),
        None => quote!(None),
    }
}

fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(signature.fn_token.span, "a workflow is an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "a workflow has one name, so it cannot be generic",
        ));
    }
    if signature.inputs.is_empty() || signature.inputs.len() > 2 {
        let message = "a workflow takes a context and at most one input; use a tuple or a struct for more";
        return Err(Error::new(signature.inputs.span(), message));
    }
    Ok(())
}

fn argument(argument: Option<&FnArg>, function: &ItemFn) -> syn::Result<(TokenStream, Type)> {
    match argument {
        Some(FnArg::Typed(typed)) => {
            let pattern: &Pat = &typed.pat;
            Ok((pattern.to_token_stream(), (*typed.ty).clone()))
        }
        Some(FnArg::Receiver(receiver)) => Err(Error::new(receiver.span(), "a workflow is a free function")),
        None => Err(Error::new(function.sig.span(), "a workflow takes a context")),
    }
}

/// A hash over the function's tokens, without doc comments: what changes only the looks changes nothing here.
fn fingerprint(item: TokenStream) -> String {
    let mut hash = Sha256::new();
    feed(item, &mut hash);
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn feed(tokens: TokenStream, hash: &mut Sha256) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if let TokenTree::Punct(punct) = &token
            && punct.as_char() == '#'
            && tokens.peek().is_some_and(is_doc)
        {
            tokens.next();
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                hash.update(format!("{:?}", group.delimiter()));
                feed(group.stream(), hash);
                hash.update("end");
            }
            other => {
                hash.update(other.to_string());
                hash.update([0]);
            }
        }
    }
}

fn is_doc(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => {
            group.stream().into_iter().next().is_some_and(|first| first.to_string() == "doc")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(code: &str) -> String {
        fingerprint(code.parse().unwrap())
    }

    #[test]
    fn looks_do_not_change_the_fingerprint_and_code_does() {
        let plain = hash_of("async fn a(ctx: Ctx) -> Result<(), E> { ctx.step(\"x\").await }");
        let dressed = hash_of(
            "/// Docs.\n async fn a( ctx : Ctx )\n -> Result<(), E> {\n // why\n ctx.step(\"x\")\n.await }",
        );
        assert_eq!(plain, dressed);
        assert_ne!(plain, hash_of("async fn a(ctx: Ctx) -> Result<(), E> { ctx.step(\"y\").await }"));
    }

    #[test]
    fn what_is_no_workflow_is_refused_with_the_reason() {
        let cases = [
            ("fn a(ctx: Ctx) -> Result<(), E> { Ok(()) }", "async fn"),
            ("async fn a() -> Result<(), E> { Ok(()) }", "a context"),
            ("async fn a(self) -> Result<(), E> { Ok(()) }", "free function"),
            ("async fn a(c: Ctx, b: u8, d: u8) -> Result<(), E> { Ok(()) }", "at most one input"),
            ("async fn a<T>(c: Ctx, b: T) -> Result<(), E> { Ok(()) }", "generic"),
            ("async fn a(c: Ctx) {}", "returns a `Result`"),
        ];
        for (code, reason) in cases {
            let error = expand(TokenStream::new(), code.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(reason), "{code}: {error}");
        }
    }
    #[test]
    fn the_attribute_names_and_restricts_the_workflow() {
        let function = "async fn a(ctx: Ctx) -> Result<(), E> { Ok(()) }";
        let expanded = |attribute: &str| expand(attribute.parse().unwrap(), function.parse().unwrap());
        let code =
            expanded(r#"name = "n", class = "c", instance = "i", roles("r1", "r2",)"#).unwrap().to_string();
        for part in ["\"n\"", "Some (\"c\")", "Some (\"i\")", "& [\"r1\" , \"r2\"]"] {
            assert!(code.contains(part), "{part} in {code}");
        }
        for (attribute, reason) in [
            (r#"name = """#, "empty"),
            ("name = 5", "string literal"),
            ("roles()", "at least one role"),
            (r#"roles("")"#, "empty"),
            (r#"color = "red""#, "expected `name"),
        ] {
            let error = expanded(attribute).unwrap_err().to_string();
            assert!(error.contains(reason), "{attribute}: {error}");
        }
    }
}
