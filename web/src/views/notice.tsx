import { session } from "../session";
import { connectionWords } from "../situation";
import { Mark } from "./shapes";

/** What is wrong right now, over the page's bottom edge: nothing moves when it comes and goes. */
export function Notice() {
  const connection = session.connection.value;
  const problem = session.problem.value;
  if (
    connection.state !== "open" &&
    session.cameras.value !== undefined &&
    !(connection.state === "connecting" && connection.attempt === 0)
  ) {
    const reason = connection.state === "closed" ? connection.reason : "trying the gateway again";
    return (
      <div class="notice bad" data-testid="notice">
        <Mark shape="cross" />
        <div>
          <strong role="status">Disconnected: {reason}.</strong>{" "}
          <span class="countdown">{connectionWords(connection, session.nowMs.value)}</span>
        </div>
        <button
          class="button"
          type="button"
          onClick={() => {
            session.retry();
          }}
        >
          Try now
        </button>
      </div>
    );
  }
  if (problem === undefined) return null;
  return (
    <div class="notice warn">
      <Mark shape="triangle" />
      <div role="status">{problem}</div>
      <button class="button" type="button" onClick={() => (session.problem.value = undefined)}>
        Close
      </button>
    </div>
  );
}
