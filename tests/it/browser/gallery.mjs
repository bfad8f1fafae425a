// Looks at every page of a gallery in every width and scheme, and says what is wrong with it.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, pages, widths, schemes, folder }) => {
  const look = async (width, scheme) => {
    const wrong = [];
    const visitor = await Visitor.open(browser, { origins: [origin], width, scheme });
    for (const name of pages) {
      await visitor.go(`${origin}/${name}`);
      wrong.push(...(await visitor.look(folder, name)));
    }
    await visitor.close();
    return wrong;
  };
  const ways = widths.flatMap((width) => schemes.map((scheme) => look(width, scheme)));
  return { wrong: (await Promise.all(ways)).flat() };
});
