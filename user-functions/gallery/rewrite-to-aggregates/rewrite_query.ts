import type { RewriteQuery } from 'pgswitchyard';

/** Two reports that join and add up all sales are answered from tables that hold the sums already. */
const REPORTS = new Map([
  [
    'select storename, sum(total) from sales join store using (storeid) group by storename order by storename',
    'SELECT storename, total FROM store_sales ORDER BY storename',
  ],
  [
    'select prodname, sum(total) from sales join product using (productid) group by prodname order by prodname',
    'SELECT prodname, total FROM product_sales ORDER BY prodname',
  ],
]);

/** None of the reports is longer: a query that is need not be looked at. */
const LONGEST = 1_000;

export const rewrite_query: RewriteQuery = (username, query) => {
  if (query.length > LONGEST) return null;
  // However the report tool breaks its lines. Lower case is safe here: a query with text constants is no report.
  const shape = query.replace(/\s+/g, ' ').replace(/;\s*$/, '').trim().toLowerCase();
  return REPORTS.get(shape) ?? null;
};
