import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

import { type NumberRange, readNumber } from "../../setup/number";

interface FieldProps {
  label: string;
  /** What it is for, below the field. */
  hint?: ComponentChildren;
  children: (id: string, hintId: string) => ComponentChildren;
}

/** A field with its label and its hint. */
export function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id, `${id}-hint`)}
      <p class="hint" id={`${id}-hint`}>
        {hint}
      </p>
    </div>
  );
}

interface TextProps {
  label: string;
  hint?: ComponentChildren;
  value: string;
  change: (value: string) => void;
  disabled?: boolean;
  placeholder?: string;
}

export function TextField({ label, hint, value, change, disabled = false, placeholder = "" }: TextProps) {
  return (
    <Field label={label} hint={hint}>
      {(id, hintId) => (
        <input
          id={id}
          aria-describedby={hintId}
          type="text"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={value}
          disabled={disabled}
          placeholder={placeholder}
          onInput={(event) => {
            change(event.currentTarget.value);
          }}
        />
      )}
    </Field>
  );
}

interface NumberProps {
  label: string;
  /** Only for those who cannot see what stands around it. */
  labelHidden?: boolean;
  /** As typed: it is never written back otherwise. */
  value: string;
  range: NumberRange;
  change: (value: string) => void;
  unit: string;
}

/** A number with its unit, as text that its reader judges: browsers read number fields by rules of their own. */
export function NumberField({ label, labelHidden = false, value, range, change, unit }: NumberProps) {
  const id = useId();
  const { problem, note } = readNumber(value, range);
  const words = problem ?? note;
  return (
    <div class="number-field">
      <label for={id} class={labelHidden ? "hidden-words" : ""}>
        {label}
      </label>
      <span class="number-input">
        <input
          id={id}
          type="text"
          // The decimal keypad of some phones has no minus.
          inputMode={range.above === undefined ? "text" : "decimal"}
          dir="ltr"
          autocomplete="off"
          autocorrect="off"
          spellcheck={false}
          aria-invalid={problem !== undefined}
          aria-describedby={words === undefined ? undefined : `${id}-words`}
          value={value}
          onInput={(event) => {
            change(event.currentTarget.value);
          }}
        />
        <span aria-hidden="true">{unit}</span>
      </span>
      {words !== undefined && (
        <p class={`number-words ${problem === undefined ? "hint" : "state bad wraps"}`} id={`${id}-words`}>
          {words}
        </p>
      )}
    </div>
  );
}
