/** The origin of a command about a tenant: the role and name of its user. */
export interface AskedBy {
  readonly by: 'operator' | 'tenant';
  /** the name of the user */
  readonly user: string;
}
