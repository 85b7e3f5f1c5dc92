import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

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

interface MetresProps {
  label: string;
  /** Only for those who cannot see what stands around it. */
  labelHidden?: boolean;
  value: number | undefined;
  change: (value: number | undefined) => void;
}

/** Metres; what is no number is none. */
export function MetresField({ label, labelHidden = false, value, change }: MetresProps) {
  const id = useId();
  return (
    <span class="metres">
      <label for={id} class={labelHidden ? "hidden-words" : ""}>
        {label}
      </label>
      <input
        id={id}
        type="number"
        inputMode="decimal"
        step="any"
        value={value ?? ""}
        onInput={(event) => {
          const { valueAsNumber } = event.currentTarget;
          change(Number.isFinite(valueAsNumber) ? valueAsNumber : undefined);
        }}
      />
      <span aria-hidden="true">m</span>
    </span>
  );
}
