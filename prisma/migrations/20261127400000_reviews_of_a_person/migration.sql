-- A person reads what they decided: by the account that they sign in with.
CREATE INDEX "review_reviewer_at_idx" ON "review" ((reviewer ->> 'issuer'), (reviewer ->> 'subject'), "at" DESC);
