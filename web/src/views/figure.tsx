/** One number of a row of them, with its name. */
export function Figure({ name, value, about }: { name: string; value: string; about: string }) {
  return (
    <div title={about}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
