// The widget store's page: one state, a poll and a few event streams that fill it, one render() that shows it.
// The server may die at any moment. So the page never decides what happened to a purchase:
// it sends the same request again and shows what the server says.

const PENDING = 0, DISPATCHED = 1, PAID = 2, CANCELLED = -1;
const STATUS = new Map([
  [PENDING, { name: "Unpaid", tone: "wait", text: "One widget is reserved. We are waiting for your payment." }],
  [PAID, { name: "Dispatching", tone: "busy", text: "Thank you! Paid, and on the way through the machine." }],
  [DISPATCHED, { name: "Dispatched", tone: "good", text: "Dispatched. Your widget is on its way to you." }],
  [CANCELLED, { name: "Cancelled", tone: "bad", text: "Cancelled. You were not charged." }],
]);
const UNKNOWN = { name: "Unknown", tone: "none", text: "This page does not know the state of this order." };
const CONNECTION_LOST = "Connection lost. The server restarts; your order is safe. Reconnecting…";
const BUY_HINT = "One click reserves one widget. You pay on the next page.";
const FAST_POLL = 1000, SLOW_POLL = 5000;
const FOLLOWED_AT_MOST = 2; // a browser has six connections to a server, for all its tabs together
const FEW_ORDERS = 8;

const state = {
  product: null,
  orders: null,       // newest first; null until the first answer
  viewed: null,       // the order of ?order=…, also when the list does not hold it
  progress: new Map(), // order id -> percent, of the dispatches that were followed
  crashAllowed: null, // null until GET /demo has answered
  trouble: "",        // why there is no connection; empty while there is one
  showAll: false,
  busy: new Set(),    // names of the actions in flight
};

const $ = (id) => document.getElementById(id);
const statusOf = (order) => STATUS.get(order.order_status) ?? UNKNOWN;
const storedPercent = (order) => Math.min(100, Math.max(0, (10 - order.progress_remaining) * 10)) || 0;
const percentOf = (order) =>
  (order.order_status === PAID ? state.progress.get(order.order_id) : undefined) ?? storedPercent(order);
const money = (decimal) => `$${decimal}`; // a decimal string: never a float, so never 99.98999

// --- Talking to the server ---------------------------------------------------------------------

class RequestError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: no answer at all
  }
  get passing() { return [0, 502, 503].includes(this.status); }
}

async function request(method, path, { timeout = 10_000, headers } = {}) {
  let response, body;
  try {
    response = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(timeout) });
    body = await response.text();
  } catch {
    throw new RequestError(CONNECTION_LOST, 0);
  }
  if (response.ok) return body;
  throw new RequestError(problemDetail(body) ?? `The server answered ${response.status}.`, response.status);
}

function problemDetail(body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail ?? problem.title;
  } catch {
    return undefined; // not problem+json: a proxy's page, perhaps
  }
}

const getJson = async (path) => JSON.parse(await request("GET", path));

// Sends until there is an answer. Only for requests that are safe to repeat: the checkout has its
// key, a payment is decided once, and a full shelf stays full.
const postUntilAnswered = (path, headers) =>
  untilAnswered("POST", path, { headers, timeout: 75_000 }); // the server itself waits up to 60 s

async function untilAnswered(method, path, options) {
  for (;;) {
    try {
      return await request(method, path, options);
    } catch (error) {
      if (!error.passing) throw error;
      await reconnection(error);
    }
  }
}

// What a workflow publishes under a name, as soon as it does.
async function eventOf(workflow, name) {
  const path = `/dbos/workflows/${encodeURIComponent(workflow)}/events/${name}`;
  for (;;) {
    const answer = JSON.parse(await untilAnswered("GET", path, { timeout: 30_000, headers: { Prefer: "wait=20" } }));
    if ("value" in answer) return answer.value;
  }
}

// --- Connection and polling --------------------------------------------------------------------

const waiting = [];
let pollTimer, pollTurn = 0;

function reconnection(error) {
  loseConnection(error);
  pollIn(FAST_POLL);
  return new Promise((resume) => waiting.push(resume));
}

function loseConnection(error) {
  state.trouble = error.status === 0 ? CONNECTION_LOST : `${error.message} Your order is safe. Reconnecting…`;
  render();
}

function regainConnection() {
  if (state.trouble) notify("Back again. Everything continues where it stopped.");
  state.trouble = "";
  for (const resume of waiting.splice(0)) resume();
}

function pollIn(delay) {
  clearTimeout(pollTimer);
  if (!document.hidden) pollTimer = setTimeout(poll, delay);
}

async function poll() {
  const turn = ++pollTurn; // a newer poll makes an older one's answer stale
  clearTimeout(pollTimer);
  let answer, failure;
  try {
    answer = await fetchEverything();
  } catch (error) {
    failure = error;
  }
  if (turn !== pollTurn) return;
  pollIn(failure ? FAST_POLL : SLOW_POLL);
  if (failure) return loseConnection(failure);
  Object.assign(state, answer);
  regainConnection();
  followDecidedPayments();
  followDispatches();
  render();
}

async function fetchEverything() {
  const [product, orders] = await Promise.all([getJson("/product"), getJson("/orders")]);
  orders.sort((a, b) => b.order_id - a.order_id);
  const viewed = await findViewedOrder(orders);
  const crashAllowed = state.crashAllowed ?? await askCrashAllowed();
  return { product, orders, viewed, crashAllowed };
}

async function findViewedOrder(orders) {
  const { name, id } = currentView();
  if (name !== "order") return null;
  const listed = orders.find((order) => String(order.order_id) === id);
  if (listed) return listed;
  if (state.viewed?.missing === id) return state.viewed; // asked already
  try {
    return await getJson(`/order/${encodeURIComponent(id)}`);
  } catch (error) {
    if (error.status >= 400 && error.status < 500) return { missing: id, reason: error.message };
    throw error;
  }
}

async function askCrashAllowed() {
  try {
    return (await getJson("/demo")).crash === true;
  } catch (error) {
    if (error.passing) throw error;
    return false;
  }
}

// --- Following dispatches ----------------------------------------------------------------------

// The server sends each tick of a dispatch as an event. After an outage the browser connects again by itself and says
// which event was its last, so the bar goes on where it was. A hidden page follows nothing.
const followed = new Map();  // order id -> EventSource
const lastEvent = new Map(); // order id -> id of the last event

function followDispatches() {
  const { id: viewed } = currentView();
  const moving = document.hidden ? [] : (state.orders ?? []).filter((order) => order.order_status === PAID);
  moving.sort((a, b) => (String(b.order_id) === viewed) - (String(a.order_id) === viewed));
  const wanted = new Map(moving.slice(0, FOLLOWED_AT_MOST).map((order) => [order.order_id, order]));
  for (const id of followed.keys()) if (!wanted.has(id)) unfollow(id);
  for (const [id, order] of wanted) if (!followed.has(id)) follow(id, order);
}

function follow(id, order) {
  if (!state.progress.has(id)) state.progress.set(id, storedPercent(order));
  const after = lastEvent.has(id) ? `?after=${lastEvent.get(id)}` : "";
  const source = new EventSource(order.progress_url + after);
  followed.set(id, source);
  source.onmessage = (event) => {
    lastEvent.set(id, event.lastEventId);
    state.progress.set(id, Math.max(state.progress.get(id), JSON.parse(event.data).percent));
    render();
  };
  source.addEventListener("end", () => {
    unfollow(id);
    poll();
  });
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return poll(); // it tries again; are the others answered?
    unfollow(id);
    state.progress.delete(id); // until it can be followed again, what the orders say counts
    pollIn(FAST_POLL);
  };
}

function unfollow(id) {
  followed.get(id)?.close();
  followed.delete(id);
}

// --- Views: the URL says which one, so a reload or a shared link shows the same ----------------

function currentView() {
  const query = new URLSearchParams(location.search);
  if (query.get("order")) return { name: "order", id: query.get("order") };
  if (query.get("payment")) return { name: "payment", id: query.get("payment") };
  return { name: "shop" };
}

function navigate(url, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  openView();
}

function openView() {
  state.viewed = state.orders?.find((order) => String(order.order_id) === currentView().id) ?? null;
  render();
  document.querySelector(".view:not([hidden]) h2").focus(); // tells a screen reader where it is
  poll();
}

// Links change the view without a page load: a load would fail while the server is down.
function followLink(event) {
  const link = event.target.closest("a[data-nav]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  hideToast();
  navigate(link.getAttribute("href"));
}

// A payment can be decided by somebody else: another tab, or the timeout of the workflow.
function followDecidedPayments() {
  const view = currentView();
  for (const order of state.orders) {
    if (!order.payment_id || order.order_status === PENDING) continue;
    forgetCheckout(order.payment_id);
    if (view.name === "payment" && view.id === order.payment_id) {
      navigate(`/?order=${order.order_id}`, { replace: true });
    }
  }
}

// --- The purchase ------------------------------------------------------------------------------

// The idempotency key of a purchase, and its payment once that is known. They are kept until the purchase is decided, so
// that pressing Buy again, after a crash or a reload, joins the same purchase and starts no second one.
let checkout = withStorage((storage) => JSON.parse(storage.getItem("checkout"))) ?? null;

function keepCheckout(checkoutNow) {
  checkout = checkoutNow;
  withStorage((storage) => storage.setItem("checkout", JSON.stringify(checkout)));
}

function forgetCheckout(id) {
  if (id !== checkout?.key && id !== checkout?.payment) return;
  checkout = null;
  withStorage((storage) => storage.removeItem("checkout"));
}

function withStorage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return undefined; // the browser forbids it: then the key lives as long as the page
  }
}

function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Plain http from another machine is no secure context: make the same UUID (version 4) by hand.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

async function buy() {
  const key = checkout?.key ?? newKey();
  keepCheckout({ ...checkout, key });
  try {
    const paymentId = await postUntilAnswered("/checkout", { "Idempotency-Key": key });
    if (checkout?.key === key) keepCheckout({ key, payment: paymentId });
    // Nobody is pulled away from a page opened in the meantime: Buy now leads to the payment.
    if (currentView().name === "shop") navigate(`/?payment=${encodeURIComponent(paymentId)}`);
  } catch (error) {
    if (error.status !== 504) forgetCheckout(key); // a clear "no", such as "sold out"
    throw error;
  }
}

async function settle(decision) {
  const { id } = currentView();
  try {
    // The provider tells the shop, in a signed message. What came of it, the purchase says.
    await postUntilAnswered(`/provider/payments/${encodeURIComponent(id)}/${decision}`);
    const orderId = await eventOf(id, "order_id");
    forgetCheckout(id);
    if (currentView().id === id) navigate(`/?order=${encodeURIComponent(orderId)}`, { replace: true });
  } catch (error) {
    if (error.status === 404) {
      forgetCheckout(id);
      navigate("/", { replace: true });
    }
    throw error;
  }
}

async function restock() {
  await postUntilAnswered("/restock");
  await poll();
  notify(`The shelf is full again: ${state.product?.inventory} widgets.`);
}

async function crash() {
  try {
    await request("POST", "/crash_application");
  } catch (error) {
    if (error.status === 404) state.crashAllowed = false;
    if (error.status !== 0) throw error; // no answer: it crashed before it could say so
  }
  pollIn(300);
}

// Runs one action at a time per name, so that a double click acts once.
async function act(name, action) {
  if (state.busy.has(name)) return;
  const focused = document.activeElement;
  state.busy.add(name);
  hideToast();
  render();
  try {
    await action();
  } catch (error) {
    complain(error.message);
  } finally {
    state.busy.delete(name);
    render();
    // A disabled button loses the focus: give it back to the keyboard's user.
    if (document.activeElement === document.body) focused?.focus();
  }
}

// --- Messages ----------------------------------------------------------------------------------

let toastTimer;

function showToast(error, notice) {
  clearTimeout(toastTimer);
  $("toast").hidden = !error && !notice;
  setText("error", error);
  setText("notice", notice);
  if (notice) toastTimer = setTimeout(hideToast, 6000); // an error stays until it is closed
}
const complain = (text) => showToast(text, "");
const notify = (text) => $("error").textContent || showToast("", text);
const hideToast = () => showToast("", "");

// --- Rendering ---------------------------------------------------------------------------------

function render() {
  const view = currentView();
  for (const name of ["shop", "payment", "order"]) $(`view-${name}`).hidden = name !== view.name;
  const dispatching = state.orders?.some((order) => order.order_status === PAID);
  document.body.classList.toggle("offline", state.trouble !== "");
  document.body.classList.toggle("working", Boolean(dispatching) && !state.trouble);
  setText("banner", state.trouble);
  setText("connection", state.trouble ? "Offline" : state.orders ? "Live" : "Connecting");
  document.title = view.name === "order" ? `Order ${view.id} · Widget Store` : "Widget Store";
  renderShop();
  if (view.name === "payment") renderPayment(view.id);
  if (view.name === "order") renderOrder(view.id);
  renderOrders();
  setBusy("restock", "restock", "Restock the shelf", "Restocking…");
  setBusy("crash", "crash", "Crash the server", "Crashing…", state.trouble !== "");
  $("crash").hidden = !state.crashAllowed;
}

function renderShop() {
  const { product } = state;
  if (!product) return;
  const left = product.inventory;
  setText("product-name", product.product);
  setText("product-description", product.description);
  setText("price", money(product.price));
  setText("buy-hint", left > 0 ? BUY_HINT : "The shelf is empty. Restock it to go on.");
  setText("stock", left > 0 ? `${left} in stock` : "Sold out");
  $("stock").dataset.tone = left > 10 ? "good" : left > 0 ? "wait" : "bad";
  const label = checkout ? "Continue your purchase" : left > 0 ? "Buy now" : "Sold out";
  setBusy("buy", "buy", label, "Reserving your widget…", left <= 0 && !checkout);
}

function renderPayment(paymentId) {
  const order = state.orders?.find((candidate) => candidate.payment_id === paymentId);
  const total = state.product ? money(state.product.price) : "…";
  setText("payment-order", order ? `Checkout of order #${order.order_id}` : "Checkout");
  setText("payment-total", total);
  setText("payment-id", paymentId);
  setBusy("pay", "settle", `Pay ${total}`, "One moment…");
  setBusy("cancel", "settle", "Cancel order", "Cancel order");
}

function renderOrder(id) {
  const order = state.viewed;
  const known = Boolean(order) && !order.missing;
  const status = known ? statusOf(order) : UNKNOWN;
  setText("order-title", `Order #${id}`);
  setText("order-text", known ? status.text : order?.reason ?? "Loading the order…");
  setText("order-badge", status.name);
  $("order-badge").dataset.tone = status.tone;
  $("order-badge").hidden = !known;
  const stepsDone = known ? { [PENDING]: 1, [PAID]: 2, [DISPATCHED]: 3 }[order.order_status] ?? 0 : 0;
  $("order-steps").hidden = stepsDone === 0;
  [...$("order-steps").children].forEach((step, index) => {
    step.classList.toggle("done", index < stepsDone);
    step.ariaCurrent = index === stepsDone - 1 ? "step" : null;
  });
  showPayLink($("order-pay"), order);
  renderProgress($("order-progress"), known ? order : null);
}

function renderOrders() {
  if (!state.orders) return;
  const { length } = state.orders;
  const shown = state.showAll ? state.orders : state.orders.slice(0, FEW_ORDERS);
  setText("orders-count", length ? String(length) : "");
  setText("orders-empty", length ? "" : "No order yet. Be the first to buy a widget.");
  setText("show-all", `Show all ${length} orders`);
  $("show-all").hidden = shown.length === length;
  const list = $("orders");
  // Rows are kept and reused: the bars move smoothly and the focus stays where it is.
  shown.forEach((order, index) => {
    const row = $(`order-${order.order_id}`) ?? newRow(order.order_id);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    renderRow(row, order);
  });
  while (list.children.length > shown.length) list.lastElementChild.remove();
}

function newRow(id) {
  const row = $("order-row").content.firstElementChild.cloneNode(true);
  row.id = `order-${id}`;
  row.querySelector(".order-link").textContent = `Order #${id}`;
  row.querySelector(".order-link").href = `/?order=${id}`;
  row.querySelector(".order-pay").setAttribute("aria-label", `Pay now for order ${id}`);
  row.querySelector(".bar").setAttribute("aria-label", `Dispatch progress of order ${id}`);
  return row;
}

function renderRow(row, order) {
  const badge = row.querySelector(".badge"), time = row.querySelector("time"), pay = row.querySelector(".order-pay");
  badge.textContent = statusOf(order).name;
  badge.dataset.tone = statusOf(order).tone;
  time.dateTime = order.last_update_time ?? "";
  time.textContent = order.last_update_time ? new Date(order.last_update_time).toLocaleTimeString() : "";
  showPayLink(pay, order);
  time.hidden = !pay.hidden;
  renderProgress(row.querySelector(".progress"), order);
}

function showPayLink(link, order) {
  link.hidden = order?.order_status !== PENDING || !order.payment_id;
  if (!link.hidden) link.href = `/?payment=${encodeURIComponent(order.payment_id)}`;
}

function renderProgress(box, order) {
  box.hidden = order?.order_status !== PAID && order?.order_status !== DISPATCHED;
  if (box.hidden) return;
  const percent = percentOf(order);
  const bar = box.querySelector(".bar");
  bar.setAttribute("aria-valuenow", percent);
  bar.firstElementChild.style.width = `${percent}%`;
  bar.classList.toggle("moving", order.order_status === PAID);
  box.querySelector(".percent").textContent = `${percent}%`;
}

// Writes only a changed text: a live region reads out each write.
function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function setBusy(id, action, label, busyLabel, blocked = false) {
  const busy = state.busy.has(action);
  setText(id, busy ? busyLabel : label);
  $(id).disabled = busy || blocked;
  $(id).classList.toggle("is-busy", busy && busyLabel !== label);
}

// --- Start -------------------------------------------------------------------------------------

$("buy").addEventListener("click", () => act("buy", buy));
$("pay").addEventListener("click", () => act("settle", () => settle("paid")));
$("cancel").addEventListener("click", () => act("settle", () => settle("failed")));
$("restock").addEventListener("click", () => act("restock", restock));
$("crash").addEventListener("click", () => act("crash", crash));
$("close-toast").addEventListener("click", hideToast);
$("show-all").addEventListener("click", () => { state.showAll = true; render(); });
document.addEventListener("click", followLink);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return poll();
  clearTimeout(pollTimer);
  followDispatches();
});
addEventListener("popstate", openView);

render();
await poll();
// The page was reloaded in the middle of a purchase: join it again.
if (checkout && currentView().name === "shop") act("buy", buy);
