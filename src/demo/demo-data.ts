/** Sample data of the demonstration: the tables of the two examples in user-functions/. */

const HERE = (server: string): string =>
  `CREATE TABLE whereami (server text); INSERT INTO whereami VALUES ('${server}');`;

export const FIRST_SERVER = `
${HERE('server 1')}
CREATE TABLE tablea (id int, said_by text);
INSERT INTO tablea VALUES (1, 'tablea on server 1');
CREATE TABLE store (storeid int, storename text);
INSERT INTO store VALUES (1, 'Aachen'), (2, 'Bonn');
CREATE TABLE product (productid int, prodname text);
INSERT INTO product VALUES (1, 'apple'), (2, 'pear');
CREATE TABLE sales (storeid int, productid int, total int);
INSERT INTO sales SELECT 1 + i % 2, 1 + i / 2 % 2, i FROM generate_series(1, 1000) i;
CREATE TABLE store_sales AS SELECT storename, sum(total) AS total FROM sales JOIN store USING (storeid) GROUP BY storename;
CREATE TABLE product_sales AS SELECT prodname, sum(total) AS total FROM sales JOIN product USING (productid) GROUP BY prodname;
`;

export const SECOND_SERVER = `
${HERE('server 2')}
CREATE TABLE tableb (id int, said_by text);
INSERT INTO tableb VALUES (1, 'tableb on server 2');
`;

export const SHOWN_QUERIES: readonly { readonly sql: string; readonly shows?: string }[] = [
  { sql: 'SELECT said_by FROM tablea' },
  { sql: 'SELECT said_by FROM tableb', shows: 'the other server, in the same session' },
  { sql: 'SELECT said_by FROM tablea' },
  {
    sql: 'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename',
    shows: 'answered from store_sales: the query was rewritten',
  },
];
