/** `docs/reference/cases.md`: the cases of a manifest. */
import { fieldTable, type JsonSchema } from './json-schema.ts';
import { generatedFrom, page } from './markdown.ts';

export const casesPage = (cases: JsonSchema): string =>
  page(
    generatedFrom('broker/cases/cases.ts'),
    '# Cases reference',
    'What a manifest must decide, in a file `NAME.cases.yaml` beside it; run by `writ manifest test`. How to write them: [manifests.md](../manifests.md#cases). As a JSON Schema (draft 2020-12): [cases.schema.json](cases.schema.json).',
    fieldTable(cases),
  );
