/** Who has asked for something that is done to a tenant. */
export interface AskedBy {
  readonly by: 'operator' | 'tenant';
  /** the name of the user */
  readonly user: string;
}
