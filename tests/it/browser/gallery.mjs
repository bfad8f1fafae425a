// Looks at every page of a gallery in every width and scheme, and says what is wrong with it.

import { Visitor, main } from "./browser.mjs";

await main(async (browser, { origin, pages, widths, schemes, folder }) => {
  const look = async (width, scheme) => {
    const wrong = [];
    const visitor = await Visitor.open(browser, { origins: [origin], width, scheme });
    for (const name of pages) {
      const say = (what) => wrong.push(`${name}, ${width} px, ${scheme}: ${what}`);
      await visitor.go(`${origin}/${name}`);
      if (folder) await visitor.screenshot(folder, `${name}-${width}-${scheme}`);
      const overflow = await visitor.overflow();
      if (overflow > 0) say(`${overflow} px too wide`);
      (await visitor.axe()).forEach(say);
      visitor.wrong().forEach(say);
      visitor.strays.length = visitor.complaints.length = 0;
    }
    await visitor.close();
    return wrong;
  };
  const ways = widths.flatMap((width) => schemes.map((scheme) => look(width, scheme)));
  return { wrong: (await Promise.all(ways)).flat() };
});
