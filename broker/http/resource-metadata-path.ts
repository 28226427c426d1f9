/** RFC 9728 section 3. */
export const resourceMetadataPath = '/.well-known/oauth-protected-resource';
