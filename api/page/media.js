// What may be asked about: pictures, documents, videos; what a model takes of them, and how they are sent.

import { state } from "./store.js";
import { plural, seconds, short, number } from "./words.js";
import { call, picture } from "./wire.js";

const UPLOAD_MS = 480_000; // as long as the service waits for its largest file
const MB = 2 ** 20;
const KEPT_S = 2 * 86_400; // A job of pages has a day.
const TOO_LONG = ["invalid_document", "context_length_exceeded"];
const KINDS = {
  picture: /^image\/(?!tiff)|\.(png|jpe?g|webp|gif|hei[cf]|avif|bmp|ico|svg)$/i,
  document: /^(application\/pdf|image\/tiff)$|\.(pdf|tiff?)$/i,
  video: /^video\/|\.(mp4|m4v|mov|webm|mkv|avi)$/i,
};

const kind_of = (text) => Object.keys(KINDS).find((kind) => KINDS[kind].test(text));
export const kind_of_file = ({ type, name }) => kind_of(type || name);
// What an address leads to is known once it is fetched: one that does not say is taken for a picture's.
export const kind_of_url = (url) => kind_of(url.split(/[?#]/)[0]) ?? "picture";

export const model_of = (id) => state.models?.find((model) => model.id === id);

export const has_document = (attachments) => attachments.some(({ kind }) => kind === "document");

// What is to be known before a file is chosen, and of what is chosen.
export function limits_of(model, attachments) {
  if (!model) return "";
  const has = (wanted) => attachments.some(({ kind }) => kind === wanted);
  return [
    model.max_model_len && `up to ${number(model.max_model_len)} tokens`,
    has("document")
      ? `${number(model.max_pictures)} pages (${number(model.max_document_pages)} page by page), ${number(model.max_document_mb)} MB`
      : `${number(model.max_pictures)} pictures`,
    has("video") &&
      model.max_videos &&
      `${plural(model.max_videos, "video")} of ${number(model.max_video_mb)} MB and ${seconds(model.max_video_s)}`,
    !attachments.some(({ kind }) => kind !== "picture") && `${number(model.max_body_mb)} MB in all`,
    model.max_side && `shrunk to ${model.max_side} px`,
  ]
    .filter(Boolean)
    .join(", ");
}

// How many pages are asked about, null where that is not known, 0 where no such pages can be.
function page_count({ pages: total }, wanted) {
  if (!wanted || !total) return total ?? null;
  const ranges = wanted.split(",").map((part) => /^(\d{1,6})(-(\d{1,6})?)?$/.exec(part.trim()));
  const sizes = ranges.map((range) => {
    if (!range) return -Infinity;
    const [first, last] = [Number(range[1]), Number(range[2] ? (range[3] ?? total) : range[1])];
    return 1 <= first && first <= last && last <= total ? last - first + 1 : -Infinity;
  });
  return Math.max(
    0,
    sizes.reduce((all, size) => all + size, 0),
  );
}

// Why a document's pages do not fit, however short the question.
function too_many_pages(document, { pages, per_page }, model, pictures) {
  const count = page_count(document, pages);
  if (count === null) return "";
  if (!count) return `${document.name} has ${plural(document.pages, "page")}: name some of them, like 1-3,7 or 5-.`;
  const room = per_page ? model.max_document_pages : Math.max(0, model.max_pictures - pictures);
  if (count <= room) return "";
  const where = per_page ? "fit page by page" : "fit into one question";
  return `${document.name}: ${plural(count, "page")}, and ${number(room)} ${where}.`;
}

// Whether asking page by page could be the way out of a refusal: one document of this device, alone, that is too long.
export const can_be_paged = ({ attachments: [first, ...others], per_page }, code) =>
  TOO_LONG.includes(code) && !per_page && first?.kind === "document" && !first.url && !others.length;

export const is_large = ({ kind, size }, model) => size > model?.[`max_${kind}_mb`] * MB;

// Why a model does not take what is attached, in words for whoever attached it; "" where it does.
export function objection(request, model) {
  if (!model) return "";
  const { attachments, per_page, fresh } = request;
  const [pictures, videos] = ["picture", "video"].map((wanted) => attachments.filter(({ kind }) => kind === wanted));
  const large = attachments.find((it) => is_large(it, model));
  if (videos.length && !model.max_videos)
    return `${short(model.id)} takes no videos. Choose another model, or remove ${videos[0].name}.`;
  if (videos.length > model.max_videos) return `${short(model.id)} takes ${plural(model.max_videos, "video")} at once.`;
  if (pictures.length > model.max_pictures)
    return `${short(model.id)} takes ${plural(model.max_pictures, "picture")} at once, and these are ${number(pictures.length)}.`;
  if (large)
    return `${large.name} is larger than ${number(model[`max_${large.kind}_mb`])} MB, the most for a ${large.kind}.`;
  if (per_page && fresh) return "Page by page always uses the cache: untick one of both.";
  if (per_page && attachments.length > 1) return "Page by page takes one document, and nothing beside it.";
  if (per_page && attachments[0].url) return "Page by page takes a document of this device, no address.";
  const documents = attachments.filter(({ kind }) => kind === "document");
  return documents.map((it) => too_many_pages(it, request, model, pictures.length)).find(Boolean) ?? "";
}

// The parts of a message. A document or video is uploaded, once however often it is asked about.
export const parts_of = ({ attachments, pages }) =>
  Promise.all(
    attachments.map(async (attachment) => {
      const url = await attachment.ready;
      if (attachment.kind === "picture") return { type: "image_url", image_url: { url } };
      const source = attachment.url ? { url } : { file_id: await uploaded(attachment) };
      return { type: attachment.kind, ...source, ...(attachment.kind === "document" && pages && { pages }) };
    }),
  );

// The id of the file at the service.
export async function uploaded(attachment) {
  attachment.file_id ??= await (attachment.upload ??= attachment.ready.then(upload)).finally(
    () => (attachment.upload = null),
  );
  return attachment.file_id;
}

// Its first page and how many it has, as a question about it would be shown.
export async function preview(document) {
  document.uri = await picture(`v1/files/${await uploaded(document)}/page`, undefined, (headers) => {
    document.pages = Number(headers.get("x-pages")) || null;
  });
}

// What was uploaded to be seen and is not asked about goes.
export async function discard({ borrowed, upload, file_id }) {
  const id = borrowed ? null : await (upload ?? file_id);
  if (id) await call(`v1/files/${id}`, { method: "DELETE" });
}

async function upload(file) {
  const body = new FormData();
  body.append("purpose", "user_data");
  body.append("expires_after[anchor]", "created_at");
  body.append("expires_after[seconds]", KEPT_S);
  body.append("file", file);
  return (await call("v1/files", { method: "POST", body, limit_ms: UPLOAD_MS })).data.id;
}
