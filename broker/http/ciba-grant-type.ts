/** `grant_type` of a poll (OpenID CIBA Core 1.0, section 10.1). */
export const cibaGrantType = 'urn:openid:params:grant-type:ciba';
