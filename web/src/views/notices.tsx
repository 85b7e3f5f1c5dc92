import { sentence } from "../notices";
import type { Notice } from "../wire";
import { Mark } from "./shapes";

/** What people should know about the results of a camera. */
export function Notices({ notices }: { notices: readonly Notice[] }) {
  if (notices.length === 0) return null;
  return (
    <ul class="card notices" aria-label="Notices" data-testid="notices">
      {notices.map((notice) => {
        const { title, next } = sentence(notice);
        return (
          <li key={notice}>
            <Mark shape="triangle" />
            <div>
              <strong>{title}.</strong> {next}
            </div>
          </li>
        );
      })}
    </ul>
  );
}
