/** Items that were found, as people know them: title and picture, never markup of theirs. */
import type { ItemPicture, ShownHit } from "../../src/server/dashboard/wire.ts";

/** Nothing but path commands and numbers. */
const pathData = /^[\s\d.,+\-eEMmZzLlHhVvCcSsQqTtAa]*$/;
const viewBoxData = /^-?[\d.]+(\s+-?[\d.]+){3}$/;

export function Picture({ picture }: { picture: ItemPicture | null }) {
  if (!picture) return null;
  if ("path" in picture) {
    if (!pathData.test(picture.path)) return null;
    const viewBox = picture.viewBox && viewBoxData.test(picture.viewBox) ? picture.viewBox : "0 0 24 24";
    return (
      <svg class="picture" viewBox={viewBox} aria-hidden="true">
        <path d={picture.path} />
      </svg>
    );
  }
  if (!/^(https:\/\/|data:image\/(png|jpeg|webp|gif|avif);base64,)/i.test(picture.url)) return null;
  return <img class="picture" src={picture.url} alt="" loading="lazy" referrerpolicy="no-referrer" />;
}

export function Hits({ hits, limit = 5, label }: { hits: readonly ShownHit[] | null; limit?: number; label: string }) {
  if (hits === null) return <p class="none">Nothing was searched</p>;
  if (hits.length === 0) return <p class="none">Found nothing</p>;
  return (
    <ol class="hits" aria-label={label}>
      {hits.slice(0, limit).map((hit) => (
        <li key={hit.id} class={hit.isRelevant ? "relevant" : ""}>
          <Picture picture={hit.picture} />
          <span class="title" title={hit.id}>
            {hit.title ?? hit.id}
          </span>
          {hit.isRelevant && <span class="mark">wanted</span>}
        </li>
      ))}
    </ol>
  );
}

/** The items that should be found. */
export function Wanted({ items }: { items: readonly ShownHit[] }) {
  if (items.length === 0) return null;
  return (
    <p class="wanted">
      <span class="label">wanted</span>
      {items.slice(0, 6).map((item) => (
        <span class="item" key={item.id}>
          <Picture picture={item.picture} />
          {item.title ?? item.id}
        </span>
      ))}
      {items.length > 6 && <span class="label">and {items.length - 6} more</span>}
    </p>
  );
}

export function Failure({ error, onRetry }: { error: Error; onRetry?: () => void }) {
  return (
    <p class="failure" role="alert">
      {error.message}{" "}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </p>
  );
}
