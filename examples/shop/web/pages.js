// The HTML that a customer sees. Pure: data in, a page out.

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => String(text).replace(/[&<>"']/g, (character) => ENTITIES[character]);
const price = (cents) => `€ ${(cents / 100).toFixed(2)}`;

const STYLE = `
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #123 }
  h1 { font-weight: 600 } a { color: #067 }
  ul { list-style: none; padding: 0; display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
  li { border: 1px solid #cdd; border-radius: .6rem; padding: 1rem }
  button { font: inherit; border: 0; border-radius: .4rem; padding: .3rem .9rem; background: #067; color: #fff }`;

const page = (title, body) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title>` +
  `<style>${STYLE}</style><h1>${escape(title)}</h1>${body}</html>\n`;

/** Everything that is sold; each form carries its own order id, so that a double click buys once. */
export function shopPage(products, recommended, newOrderId) {
  const item = (product) =>
    `<li><b>${escape(product.name)}</b><p>${escape(product.blurb)}</p>` +
    `<form method="post" action="/buy"><input type="hidden" name="sku" value="${escape(product.sku)}">` +
    `<input type="hidden" name="order" value="${newOrderId()}">${price(product.price_cents)} ` +
    `<button>Buy</button></form></li>`;
  const liked = recommended.length ? `<p>Others liked: ${recommended.map(escape).join(", ")}</p>` : "";
  return page("The lagoon shop", `<ul>${products.map(item).join("")}</ul>${liked}`);
}

/** `reference` is the payment's, `arrives` a day; null where that is not known. */
export const thanksPage = (order, product, reference, arrives) =>
  page(
    "Thank you",
    `<p>Order <b>${escape(order.id)}</b>: ${escape(product.name)}, ${price(product.price_cents)}, ` +
      `${reference ? `paid (${escape(reference)})` : "to be paid on delivery"}. ` +
      `${arrives ? `The ferry brings it on ${escape(arrives)}. ` : ""}` +
      `<small>Taken by orders ${escape(order.version)}.</small></p><p><a href="/">Back to the shop</a></p>`,
  );

export const problemPage = (text) => page("Sorry", `<p>${escape(text)}</p><p><a href="/">Back to the shop</a></p>`);
