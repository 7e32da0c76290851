// Shows the OpenAPI document, and lets one try what only reads. Text from the document and from answers is only ever
// set as text.
"use strict";

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") element.textContent = value;
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter(Boolean));
  return element;
};

// Text in which `code` is marked, and blank lines part paragraphs.
const prose = (text, className) =>
  (text || "").split("\n\n").filter(Boolean).map((paragraph) => {
    const parts = paragraph.split("`");
    const pieces = parts.map((part, index) => (index % 2 && parts.length % 2 ? make("code", { text: part }) : part));
    return make("p", { class: className }, ...pieces);
  });

let api;

const resolve = (schema) => {
  let seen = 0;
  while (schema && schema.$ref && seen++ < 8) {
    const found = schema.$ref.slice(2).split("/").reduce((value, key) => value && value[key], api);
    schema = { ...found, ...(schema.description ? { description: schema.description } : {}) };
  }
  return schema || {};
};

// A schema without its "or null": the field may then be absent.
const bare = (schema) => {
  schema = resolve(schema);
  const others = (schema.anyOf || []).filter((one) => resolve(one).type !== "null");
  return others.length === 1 ? { ...resolve(others[0]), description: schema.description } : schema;
};

const choices = (schema) => {
  schema = bare(schema);
  if (schema.enum) return schema.enum.filter((value) => value !== null);
  if (!schema.oneOf) return [];
  return schema.oneOf.flatMap((one) => (one.const !== undefined ? [one.const] : one.enum || []));
};

const kind = (schema) => {
  schema = bare(schema);
  if (choices(schema).length) return choices(schema).join(" | ");
  const type = [].concat(schema.type || "any").filter((name) => name !== "null").join(" or ");
  if (type === "array") return `list of ${kind(schema.items || {})}`;
  if (schema.format === "date-time") return "time, RFC 3339";
  const range = [schema.minimum, schema.maximum];
  return range[1] !== undefined ? `${type}, ${range[0] ?? 0} to ${range[1]}` : type;
};

// The fields of an object or of a list's items, opened one level at a time.
const fieldsOf = (schema, depth = 0) => {
  schema = bare(schema);
  if (schema.type === "array" || (Array.isArray(schema.type) && schema.type.includes("array"))) schema = bare(schema.items || {});
  const entries = Object.entries(schema.properties || {});
  if (!entries.length || depth > 8) return null;
  const list = make("div", { class: depth ? "schema" : "" });
  for (const [name, field] of entries) {
    const inner = bare(field);
    const hasFields = Object.keys((inner.properties || bare(inner.items || {}).properties) || {}).length > 0;
    const details = hasFields && make("details", { class: "inner" }, make("summary", { text: "its fields" }));
    if (details) {
      details.addEventListener("toggle", () => {
        if (details.open && details.children.length === 1) details.append(fieldsOf(field, depth + 1));
      });
    }
    const needed = (schema.required || []).includes(name);
    list.append(
      make("div", { class: "field" },
        make("div", {}, make("span", { class: "name", text: name }), " ", !needed && depth === 0 ? make("span", { class: "kind", text: "may be absent" }) : null),
        make("div", {}, make("span", { class: "kind", text: kind(field) }), ...prose(resolve(field).description), details)));
  }
  return list;
};

const parameterField = (parameter, inputs, canTry) => {
  const options = choices(parameter.schema);
  const isFlag = kind(parameter.schema) === "boolean";
  let input = null;
  if (canTry && parameter.in !== "header") {
    const values = isFlag ? ["true", "false"] : options;
    input = values.length
      ? make("select", { "aria-label": parameter.name }, make("option", { value: "", text: "" }), ...values.map((value) => make("option", { value, text: value })))
      : make("input", { "aria-label": parameter.name, placeholder: kind(parameter.schema), autocomplete: "off", spellcheck: "false" });
    inputs.push({ parameter, input });
  }
  const where = parameter.in === "query" ? "" : ` in the ${parameter.in}`;
  return make("div", { class: "field" },
    make("div", {}, make("span", { class: "name", text: parameter.name }), " ", parameter.required ? make("span", { class: "needed", text: "needed" }) : null),
    make("div", {}, make("span", { class: "kind", text: kind(parameter.schema) + where }), ...prose(parameter.description), input));
};

const address = (path, inputs) => {
  const query = new URLSearchParams();
  let target = "/api" + path;
  for (const { parameter, input } of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value) query.set(parameter.name, value);
  }
  return query.size ? `${target}?${query}` : target;
};

const trial = (path, inputs) => {
  const shown = make("code", { text: address(path, inputs) });
  const button = make("button", { type: "submit", text: "Ask" });
  const state = make("span", { class: "quiet", role: "status" });
  const form = make("form", {}, make("div", { class: "try" }, button, shown, state));
  for (const { input } of inputs) {
    input.addEventListener("input", () => { shown.textContent = address(path, inputs); });
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") form.requestSubmit(); });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const missing = inputs.find(({ parameter, input }) => parameter.required && !input.value.trim());
    if (missing) {
      state.textContent = `${missing.parameter.name} is needed`;
      missing.input.focus();
      return;
    }
    button.disabled = true;
    state.textContent = "asking…";
    const started = performance.now();
    let text;
    try {
      const response = await fetch(address(path, inputs), { headers: { Accept: "application/json" } });
      text = await response.text();
      state.textContent = `${response.status} ${response.statusText}, ${Math.round(performance.now() - started)} ms`;
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch (error) {
      if (text === undefined) state.textContent = "the server does not answer";
    }
    button.disabled = false;
    const answer = form.querySelector("pre") || form.appendChild(make("pre", { tabindex: "0", "aria-label": "Answer" }));
    answer.textContent = text ?? "";
  });
  return form;
};

const content = (method, path, operation) => {
  const inputs = [];
  const canTry = method === "get";
  const body = make("div", { class: "body" }, ...prose(operation.description, "manual"));
  const parameters = operation.parameters || [];
  if (parameters.length) body.append(make("h3", { text: "Parameters" }), ...parameters.map((one) => parameterField(one, inputs, canTry)));
  const sent = operation.requestBody && operation.requestBody.content["application/json"].schema;
  const fields = sent && fieldsOf(sent);
  if (fields) body.append(make("h3", { text: "Body" }), fields);
  if (canTry) body.append(trial(path, inputs));
  else body.append(make("p", { class: "note", text: "Not over TCP: through the data directory's socket, as the reeve command does." }));
  const told = operation.responses["200"].content["application/json"].schema;
  const answer = fieldsOf(told);
  if (answer) body.append(make("h3", { text: "Answer" }), answer);
  return body;
};

const entry = (method, path, operation) => {
  const parts = path.split("/").slice(1).flatMap((part) => [make("wbr"), "/", part.startsWith("{") ? make("b", { text: part }) : part]);
  const details = make("details", { class: "operation", id: operation.operationId },
    make("summary", {},
      make("span", { class: `method ${method}`, text: method.toUpperCase() }),
      make("span", { class: "path" }, "/api", ...parts),
      make("span", { class: "what", text: operation.summary })));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(content(method, path, operation));
  });
  details.dataset.text = `${path} ${operation.operationId} ${operation.summary} ${operation.description}`.toLowerCase();
  return details;
};

const openNamed = () => {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
};

const show = () => {
  const main = document.getElementById("operations");
  const contents = document.getElementById("contents");
  main.replaceChildren();
  for (const { name: tag } of api.tags) {
    const section = make("section", {}, make("h2", { text: tag }));
    const links = make("ul");
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (!operation.tags.includes(tag)) continue;
        section.append(entry(method, path, operation));
        links.append(make("li", {}, make("a", { href: `#${operation.operationId}`, text: operation.operationId })));
      }
    }
    main.append(section);
    contents.append(make("h2", { text: tag }), links);
  }
  const none = make("p", { class: "quiet", text: "No operation has these words.", hidden: true });
  main.append(none);
  document.getElementById("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const section of main.querySelectorAll("section")) {
      const entries = [...section.querySelectorAll("details.operation")];
      for (const one of entries) one.hidden = !words.every((word) => one.dataset.text.includes(word));
      section.hidden = entries.every((one) => one.hidden);
    }
    none.hidden = [...main.querySelectorAll("section")].some((section) => !section.hidden);
  });
  window.addEventListener("hashchange", openNamed);
  openNamed();
};

fetch("/api/openapi.json")
  .then((response) => response.json())
  .then((read) => {
    api = read;
    document.getElementById("version").textContent = api.info.version;
    document.getElementById("about").append(...prose(api.info.description)[0].childNodes);
    show();
  })
  .catch(() => {
    document.getElementById("state").textContent = "The document cannot be read: is the server running?";
  });
