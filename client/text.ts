/** What the broker takes as text: control and format characters are part of no word, and are made spaces. */
export const plainText = (text: string): string => text.replace(/(?![\t\n\r])[\p{Cc}\p{Cf}\p{Cs}\ufff9-\ufffd]/gu, ' ');
